"""The interop suites of Nuncio: an independent XMPP test client, its script language, and the servers it is run against."""
