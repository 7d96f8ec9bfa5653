"""The one page of sites whose URLs Django resolves itself."""

from django.http import HttpResponse
from django.urls import path
from drive import PAGE

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
