"""The guest book in Django's admin."""

from django.contrib import admin

from .models import Note


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ["author", "text", "worker", "written"]
    readonly_fields = ["worker", "written"]
    search_fields = ["author", "text"]
