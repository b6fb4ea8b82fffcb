"""Every address of the example."""

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("whoami/", views.whoami, name="whoami"),
    path("gather/", views.gather, name="gather"),
    path("stream/sync/", views.stream_sync, name="stream-sync"),
    path("stream/async/", views.stream_async, name="stream-async"),
    path("upload/", views.upload, name="upload"),
    path("upload/raw/", views.upload_raw, name="upload-raw"),
    path("slow/", views.slow, name="slow"),
    path("slow/async/", views.slow_async, name="slow-async"),
    path("admin/", admin.site.urls),
]
