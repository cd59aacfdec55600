"""Routes of the pages and of their files; no page holds data, so none needs a token."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from service.dashboard.assets import Asset, Assets

# Nothing comes from elsewhere, and no script or style stands in a page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_PAGES = {
    "/": "studies",
    "/studies/{study_id}": "study",
    "/studies/{study_id}/trials/{trial_id}": "trial",
}


def dashboard_router(report: str = "", *, is_there: Callable[..., bool]) -> APIRouter:
    """The pages, and under `/assets` what they are made of.

    Args:
        is_there: whether there is what a page is of, by the parts of its path: `study_id` and `trial_id`, both or the
            first or none. Where it is not, the same page says so, with the status 404.
        report: where the report of the one study that is shown will lie when it has ended, for people; empty where
            pages are those of a service.
    """
    router, assets = APIRouter(), Assets()

    def page_route(name: str) -> Any:
        page = _page(assets, name, report)

        def answer(request: Request) -> Response:
            if is_there(**request.path_params):
                return _answer(request, page, _ASK_AGAIN)
            return Response(page.content, 404, _HEADERS | {"Cache-Control": "no-store"}, page.media_type)

        return answer

    def file(request: Request) -> Response:
        asset = assets.find(request.path_params["name"])
        if asset is None or request.path_params["version"] != assets.version:
            raise HTTPException(404, "there is no such file; load the page again")
        return _answer(request, asset, _FOR_EVER)

    for path, name in _PAGES.items():
        router.add_route(path, page_route(name), methods=["GET"], include_in_schema=False)
    router.add_route("/assets/{version}/{name:path}", file, methods=["GET"], include_in_schema=False)
    return router


def _page(assets: Assets, name: str, report: str) -> Asset:
    folder = f"/assets/{assets.version}"
    text = assets.page(name).replace("{{assets}}", folder)
    return Asset("text/html; charset=utf-8", text.replace("{{report}}", html.escape(report)).encode())


def _answer(request: Request, asset: Asset, caching: str) -> Response:
    """The file, compressed where the browser can read that, or only that it has not changed."""
    headers = _HEADERS | {"Cache-Control": caching, "ETag": asset.etag, "Vary": "Accept-Encoding"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = asset.compressed
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=asset.media_type, headers=headers)
