"""Errors of the API, with the body that SuperOffice gives them."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer that is no success; ``kind`` is its ErrorType, a .NET class."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def body(self) -> dict[str, Any]:
        """Return the body (api/web-services/endpoints/rest-webapi)."""
        return {
            "Error": True,
            "ErrorType": self.kind,
            "ErrorMessage": str(self),
            "ErrorSource": "SuperOffice.WebApi",
        }


def not_found(what: str) -> ApiError:
    """Return the error for what is not there, or belongs to somebody else."""
    return ApiError(404, "SoNotFoundException", f"{what} does not exist")


def bad_request(message: str) -> ApiError:
    """Return the error for a request that cannot be read. Its ErrorType is unproved."""
    return ApiError(400, "ArgumentException", message)


def unauthorized(message: str) -> ApiError:
    """Return the error for missing or dead credentials. Unproved, but for the status."""
    return ApiError(401, "SoAccessDeniedException", message)
