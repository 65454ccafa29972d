"""Drivers: each makes one kind of VPN program do what `base.Driver` promises."""
