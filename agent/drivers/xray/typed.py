"""Accounts as Xray's API has them, in messages with the names of their types: pure.

What always holds: the type of a message follows from the login's kind; what comes back in a type that is not
known here is no login, so it is never taken for one of ours.
"""

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import DecodeError, Message

from agent.drivers.xray import kinds
from agent.drivers.xray import xray_pb2 as pb
from agent.drivers.xray.kinds import Kind, Login

#: proxy/shadowsocks/config.proto, CipherType.
_CIPHERS = {"aes-128-gcm": 5, "aes-256-gcm": 6, "chacha20-ietf-poly1305": 7}
_METHODS = {number: name for name, number in _CIPHERS.items()}
#: common/protocol/headers.proto, SecurityType: the client chooses.
_AUTO = 2

_TYPES: dict[Kind, str] = {
    "vless": "xray.proxy.vless.Account",
    "vmess": "xray.proxy.vmess.Account",
    "trojan": "xray.proxy.trojan.Account",
    "shadowsocks": "xray.proxy.shadowsocks.Account",
    "shadowsocks-2022": "xray.proxy.shadowsocks_2022.Account",
    "hysteria": "xray.proxy.hysteria.account.Account",
    "wireguard": "xray.proxy.wireguard.PeerConfig",
}
_LISTS: Mapping[Kind, type[Message]] = {"shadowsocks-2022": pb.ThirdUsers, "wireguard": pb.FifthUsers}


def wrapped(name: str, message: Message) -> pb.TypedMessage:
    """A message with the name of its type, as Xray's API has them."""
    return pb.TypedMessage(type=name, value=message.SerializeToString())


def user(email: str, login: Login) -> pb.User:
    """An account of this name."""
    return pb.User(email=email, account=wrapped(_TYPES[login.kind], _WRITERS[login.kind](login)))


def login(found: pb.User) -> Login | None:
    """The login of an account that Xray shows; None when it is of no kind known here."""
    reader = _READERS.get(found.account.type)
    try:
        return reader(found.account.value) if reader else None
    except (DecodeError, ValueError):
        return None


def users(kind: Kind, those: Sequence[pb.User]) -> bytes:
    """These accounts in the form that is put behind an inbound's settings."""
    return bytes(_LISTS.get(kind, pb.FirstUsers)(users=those).SerializeToString())


def _vmess(of: Login) -> Message:
    made: Message = pb.VmessAccount(id=of.secret, security_settings=pb.SecurityConfig(type=_AUTO))
    return made


def _shadowsocks(of: Login) -> Message:
    made: Message = pb.ShadowsocksAccount(password=of.secret, cipher_type=_CIPHERS[of.detail])
    return made


def _peer(of: Login) -> Message:
    made: Message = pb.WireGuardPeer(
        public_key=of.secret, pre_shared_key=kinds.preshared(of), allowed_ips=kinds.allowed(of)
    )
    return made


_WRITERS: Mapping[Kind, Callable[[Login], Message]] = {
    "vless": lambda of: pb.VlessAccount(id=of.secret, flow=of.detail),
    "vmess": _vmess,
    "trojan": lambda of: pb.TrojanAccount(password=of.secret),
    "shadowsocks": _shadowsocks,
    "shadowsocks-2022": lambda of: pb.Shadowsocks2022Account(key=of.secret),
    "hysteria": lambda of: pb.HysteriaAccount(auth=of.secret),
    "wireguard": _peer,
}


def _read_vless(value: bytes) -> Login:
    found = pb.VlessAccount.FromString(value)
    return Login("vless", found.id, found.flow)


def _read_shadowsocks(value: bytes) -> Login:
    found = pb.ShadowsocksAccount.FromString(value)
    return Login("shadowsocks", found.password, _METHODS.get(found.cipher_type, "another"))


def _read_peer(value: bytes) -> Login:
    found = pb.WireGuardPeer.FromString(value)
    return kinds.wireguard(found.public_key, found.pre_shared_key, list(found.allowed_ips))


_READERS: Mapping[str, Callable[[bytes], Login]] = {
    _TYPES["vless"]: _read_vless,
    _TYPES["vmess"]: lambda value: Login("vmess", pb.VmessAccount.FromString(value).id),
    _TYPES["trojan"]: lambda value: Login("trojan", pb.TrojanAccount.FromString(value).password),
    _TYPES["shadowsocks"]: _read_shadowsocks,
    _TYPES["shadowsocks-2022"]: lambda value: Login(
        "shadowsocks-2022", pb.Shadowsocks2022Account.FromString(value).key
    ),
    _TYPES["hysteria"]: lambda value: Login("hysteria", pb.HysteriaAccount.FromString(value).auth),
    _TYPES["wireguard"]: _read_peer,
}
