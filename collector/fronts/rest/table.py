"""Every route that is served; there is no other way in."""

from collector.fronts.rest import (
    about,
    auth,
    configs,
    endpoints,
    enrolments,
    events,
    heartbeats,
    history,
    incidents,
    managers,
    nodes,
    quarantine,
    sessions,
    usage,
    users,
    wireguard,
)
from collector.fronts.rest.routes import Route

ROUTES: tuple[Route, ...] = (
    *about.ROUTES,
    *auth.ROUTES,
    *enrolments.ROUTES,
    *heartbeats.ROUTES,
    *configs.ROUTES,
    *usage.ROUTES,
    *history.ROUTES,
    *nodes.ROUTES,
    *endpoints.ROUTES,
    *managers.ROUTES,
    *users.ROUTES,
    *wireguard.ROUTES,
    *sessions.ROUTES,
    *quarantine.ROUTES,
    *incidents.ROUTES,
    *events.ROUTES,
)
