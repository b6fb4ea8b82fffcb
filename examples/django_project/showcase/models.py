"""The one table: what visitors left."""

from django.db import models


class Note(models.Model):
    """A line in the guest book, and which worker wrote it down."""

    author = models.CharField(max_length=60)
    text = models.CharField(max_length=280)
    worker = models.CharField(max_length=40, editable=False)
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-written", "-id"]

    def __str__(self):
        return f"{self.author}: {self.text}"
