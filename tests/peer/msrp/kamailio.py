"""Kamailio of the Debian package as an MSRP relay, with what its msrp module's manual shows for routing."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..subjects import Subject, free_ports

MODULES = "tls.so sl.so kex.so msrp.so pv.so auth.so xlog.so"
# Kamailio's buffer for a frame over TLS, headers included: a longer frame is dropped with "Buffer overrun".
FRAME = 16_384
CONFIG = """#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=1
tcp_children=2
auto_aliases=no
dns=no
rev_dns=no
tcp_accept_no_cl=yes
tcp_connection_lifetime=1810
tcp_rd_buf_size=65535
tcp_connect_timeout=5
enable_tls=yes
listen=tls:{host}:{port}
listen=tcp:{host}:{clear}
{load}
modparam("tls", "config", "{folder}/tls.cfg")
modparam("auth", "nonce_count", 1)
modparam("auth", "qop", "auth")
modparam("msrp", "cmap_size", 8)
modparam("msrp", "auth_min_expires", 60)
modparam("msrp", "auth_max_expires", 3600)
modparam("msrp", "use_path_addr", "{name}:{port}")

request_route {{ exit; }}
reply_route {{ drop; }}

event_route[msrp:frame-in] {{
    msrp_reply_flags("1");
    if (msrp_is_reply()) {{ msrp_relay(); exit; }}
    if ($msrp(method) == "AUTH") {{
        if ($msrp(nexthops) > 0) {{ route(FORWARD); exit; }}
        if (!pv_www_authenticate("{name}", "{password}", "0", "$msrp(method)")) {{
            if (auth_get_www_authenticate("{name}", "1", "$var(challenge)")) {{ msrp_reply("401", "Unauthorized", "$var(challenge)"); }}
            else {{ msrp_reply("500", "Server Error"); }}
            exit;
        }}
        msrp_cmap_save();
        exit;
    }}
    if ($msrp(method) == "SEND" || $msrp(method) == "REPORT") {{
        if ($msrp(nexthops) > 1) {{
            if ($msrp(method) != "REPORT") {{ msrp_reply("200", "OK"); }}
            route(FORWARD);
            exit;
        }}
        if (msrp_cmap_lookup()) {{
            if ($msrp(method) != "REPORT") {{ msrp_reply("200", "OK"); }}
            msrp_relay_flags("1");
            msrp_relay();
        }} else {{ msrp_reply("481", "Session-does-not-exist"); }}
        exit;
    }}
    msrp_reply("501", "Request-method-not-understood");
}}

# Names are the laboratory's, which the system's resolver does not know. (Of a response, the variables cannot be read.)
route[FORWARD] {{
{known}    msrp_relay();
}}
"""
TLS = """[server:default]
method = TLSv1.2+
verify_certificate = no
require_certificate = no
private_key = {key}
certificate = {chain}

[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {chain}
ca_list = {authorities}
"""


@dataclass
class Neighbour:
    """Another relay that it forwards to."""

    name: str
    host: str
    port: int


class Kamailio(Subject):
    """On TLS at an address of its own, known by a name; every user has the same password, as in the module's manual."""

    def __init__(self, folder: Path, name: str, host: str, port: int, credential, authorities: Path, password: str, neighbours: list[Neighbour] = ()):
        super().__init__(folder)
        self.name, self.host, self.port = name, host, port
        self.clear = free_ports(1, host)[0]                         # it forwards in clear from there
        self.credential, self.authorities, self.password, self.neighbours = credential, authorities, password, neighbours

    def launch(self) -> subprocess.Popen:
        binary = shutil.which("kamailio", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if binary is None:
            raise RuntimeError("no command kamailio: install the Debian packages kamailio and kamailio-tls-modules")
        known = "".join(f'    if ($msrp(nexthop) =~ "^msrps://{one.name}(:{one.port})?[/;]") '
                        f'{{ msrp_set_dst("msrps://{one.host}:{one.port};tcp", "tls:{self.host}:{self.port}"); }}\n' for one in (Neighbour(self.name, self.host, self.port), *self.neighbours))
        config = self.folder / "kamailio.cfg"
        config.write_text(CONFIG.format(host=self.host, port=self.port, clear=self.clear, folder=self.folder, name=self.name, password=self.password, known=known,
                                        load="\n".join(f'loadmodule "{module}"' for module in MODULES.split())))
        (self.folder / "tls.cfg").write_text(TLS.format(key=self.credential.key, chain=self.credential.chain, authorities=self.authorities))
        # -E: the log on standard error; -DD: all processes stay in our group.
        return self.spawn([binary, "-DD", "-E", "-f", str(config), "-m", "32", "-M", "4", "-Y", str(self.folder), "-P", str(self.folder / "pid")])
