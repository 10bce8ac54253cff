"""Routes of this room: each parses, calls one function, answers."""

from fastapi import APIRouter

from app.requests import Route

router = APIRouter(prefix="/v1", route_class=Route)
