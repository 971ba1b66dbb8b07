"""The federation laboratory: DNS with DNSSEC, a private CA, POSH, and servers on loopback addresses of their own."""
