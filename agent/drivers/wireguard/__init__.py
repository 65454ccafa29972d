"""WireGuard: one interface an endpoint, by the kernel's module or by wireguard-go."""
