"""Keys of users on WireGuard endpoints."""

from collections.abc import Iterable

from collector.domain.wireguard import Keys, Peer
from collector.store import addressing
from collector.store.session import Session
from shared.names import EndpointId, UserId


def of_user(session: Session, user: UserId) -> dict[EndpointId, Peer]:
    """A user as the endpoints know him, by endpoint."""
    rows = session.rows(
        "SELECT endpoint_id, public_key, private_key, preshared_key FROM wireguard_peer"
        " WHERE user_id = ? ORDER BY endpoint_id",
        (user,),
    )
    addresses = addressing.of_user(session, user) if rows else {}
    return {
        EndpointId(endpoint): Peer(
            user=user,
            endpoint=endpoint,
            keys=Keys(public=public, private=private, preshared=preshared),
            addresses=addresses.get(endpoint, {}),
        )
        for endpoint, public, private, preshared in rows
    }


def users_of(session: Session, endpoint: EndpointId) -> list[UserId]:
    """The users whom an endpoint knows."""
    sql = "SELECT user_id FROM wireguard_peer WHERE endpoint_id = ? ORDER BY user_id"
    return [UserId(user) for (user,) in session.rows(sql, (endpoint,))]


def key_holder(session: Session, endpoint: EndpointId, public_key: str) -> UserId | None:
    """Who has this public key on an endpoint."""
    sql = "SELECT user_id FROM wireguard_peer WHERE endpoint_id = ? AND public_key = ?"
    rows = session.rows(sql, (endpoint, public_key))
    return UserId(rows[0][0]) if rows else None


def save_keys(session: Session, peer: Peer) -> None:
    """Store the keys of a user, new or not."""
    keys = peer.keys
    session.run(
        "INSERT INTO wireguard_peer (user_id, endpoint_id, public_key, private_key, preshared_key)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id, endpoint_id) DO UPDATE"
        " SET public_key = excluded.public_key, private_key = excluded.private_key,"
        " preshared_key = excluded.preshared_key",
        (peer.user, peer.endpoint, keys.public, keys.private, keys.preshared),
    )


def forget(session: Session, user: UserId, gone: Iterable[EndpointId]) -> None:
    """Drop the keys of a user on these endpoints."""
    session.run_many(
        "DELETE FROM wireguard_peer WHERE user_id = ? AND endpoint_id = ?", [(user, one) for one in gone]
    )


def forget_all(session: Session, user: UserId) -> None:
    """Drop all keys of a user."""
    session.run("DELETE FROM wireguard_peer WHERE user_id = ?", (user,))


def remove(session: Session, endpoint: EndpointId) -> None:
    """Drop the keys of everybody on an endpoint that is gone."""
    session.run("DELETE FROM wireguard_peer WHERE endpoint_id = ?", (endpoint,))
    addressing.remove(session, endpoint)
