"""The dashboard: pages in a browser that show studies while they run, by the HTTP API alone."""

from service.dashboard.pages import dashboard_router as dashboard_router
