"""MSRP as RFC 4975 and RFC 4976 say it, apart from the server's code: a client, other relays, and the suite that plays them."""
