package service

// commonUDP lists UDP ports by how often they are met and how much an answer there
// matters, by our own judgement. A port counts where it is first named.
const commonUDP = `
# What nearly every network runs: names, time, addresses, management, logs, boot files.
53 123 161 67 68 69 514 162

# Windows networks: NetBIOS, Kerberos, the directory, SQL Server's browser, remote desktop.
137 138 88 389 464 1434 3389

# Discovery: multicast DNS, LLMNR, UPnP, WS-Discovery, SLP, NAT-PMP.
5353 5355 1900 3702 427 5351

# VPN: IKE and its NAT traversal, OpenVPN, WireGuard, L2TP.
500 4500 1194 51820 1701

# The web over QUIC.
443 80

# Sign-on for networks: RADIUS, old and new numbers.
1812 1813 1645 1646

# UNIX: portmapper, NFS, RIP, syslog's old neighbours.
111 2049 520

# Voice and its helpers: SIP, STUN and TURN, IAX, MGCP, H.323.
5060 3478 4569 2427 1719

# Server management and the phone book of storage: IPMI, memcached.
623 11211

# Overlays and flow export: VXLAN, Geneve, NetFlow, sFlow, IPFIX.
4789 8472 6081 2055 6343 4739

# Things: CoAP, BACnet, KNX, EtherNet/IP, Ubiquiti and MikroTik discovery.
5683 5684 47808 3671 44818 2222 10001 5678

# Games and their voice: Steam, Minecraft, TeamSpeak, Mumble, Unreal, Quake.
27015 19132 9987 64738 7777 27960

# The small services of RFC 862 to 868, still a cause of amplification.
7 9 13 17 19 37

# Mobile core: GTP.
2123 2152

# Printing and remote desktops: IPP browsing, Apple Remote Desktop, XDMCP, pcAnywhere, Citrix.
631 3283 177 5632 1604

# Peer to peer and mesh networks: BitTorrent, Tailscale, ZeroTier, Syncthing.
6881 41641 9993 21027 22000 51413

# Multicast streaming and time: RTP, PTP.
5004 5005 319 320

# --- From here on: what is met less often, by field.

# Names under other numbers: DNS over QUIC and DTLS, unprivileged resolvers, Consul, DNS caches.
853 784 8853 5354 1053 5300 8600 5443 5553

# QUIC on the web's second ports.
8443 4433 8080 9443 10443

# VPN on neighbouring numbers, tinc, WARP, SoftEther, Teredo, Cisco, Shadowsocks, Hysteria.
1195-1199 51821-51825 655 2408 5555 3544 10000 8388 36712 1723 4501 4502 2746 18233

# Network gear: RIPng, HSRP, GLBP, LDP, BFD, CAPWAP, LWAPP, TACACS, RADIUS CoA, VXLAN's successors,
# MikroTik's telnet, Digi and Lantronix, Moxa, Netis.
521 1985 3222 646 3784 3785 4784 5246 5247 12222 12223 49 3799 4790 4754 6635 2083 20561
30718 2362 4800 53413 9999

# Flow, logs and metrics: NetFlow's other numbers, GELF, statsd, collectd, Graphite, fluentd, traps.
9995 9996 2056 9555 12201 8125 8126 25826 2003 24224 5140 1514 6514 10514 1162 10161 10162 8089 4729 6831 6832

# Clusters: Swarm, Consul, Serf, Nomad, Corosync, JGroups, Hazelcast, WebLogic, Oracle's interconnect.
7946 8301 8302 4648 5404 5405 45588 54327 7574 694 6783 6784 51871 24007

# Windows and directory further: RPC, change of passwords, UPnP eventing, remote desktop gateway.
135 445 3391 749 750 4011 5050 5357 1433 3268 2535 5093

# UNIX further: who, talk, biff, mountd, lockd, statd, X fonts, AFS, DHCPv6, BOOTP's heirs.
513 512 517 518 4045 20048 662 892 32764-32772 7000-7009 546 547 2869 875

# Telephony further: secure SIP, RTP's first ports, H.323, media gateways, Skinny.
5061 5062 5063 5070 5080 1718 1720 2727 2944 2000 16384-16389 10002-10010 3479-3481 5349 4520 5036

# Media at home: Plex, Jellyfin, DLNA, AirPlay, Chromecast, Spotify, Sonos, Roku.
32410 32412-32414 7359 1901 6001 6002 6010 6011 319 5556 57621 1982 38899 56700 20002 6666 6667 17500 8611 8612
3289 8610 8613 8614 3610 5540 49152-49156 48899 19302-19305 6095

# Lights, stages, cameras, drones, instruments: Art-Net, sACN, GigE Vision, MAVLink, NMEA, OSC.
6454 5568 3956 14550 14555 10110 2368 8000 9000 9001 5025 4880 37777 34569 37020 3000 1511

# Industry: FINS, DNP3, PROFINET, HART-IP, Foundation Fieldbus, LonTalk, EtherCAT, GE, Moxa, VxWorks debugger.
9600 20000 34962-34964 5094 1089-1091 1628 1629 34980 18246 17185 55000-55003 2221 4840 502 1153 4059 47809 5006
5007 48898

# Games by family: Steam's servers and queries, Source, Quake, Unreal, Call of Duty, ARMA, Rust, Valheim,
# Factorio, ARK, DayZ, FiveM, consoles.
27016-27030 27005 27031 27036 26000 27500 27910 27950 27961-27964 28960 28961 29070 2302-2305 7778-7788 28015
2456-2458 34197 8211 15777 15000 30120 3074 3075 3658 3659 6112 19133 24454 14567 16567 29900 12203 23000 5121 44400
9876 8766 8767 27888 64090 2350 3724 22003 22126 5029 7350-7352 50000-50004

# Peer to peer: BitTorrent's range and local discovery, eDonkey, Gnutella, IPFS, Ethereum, Bitcoin-like.
6882-6889 6771 4665 4672 6346 6347 4001 30303 30304 30301 8333 26656 49001 16881

# Traceroute's range: a closed answer here tells distance.
33434-33464

# Old remote control and trojans: VNC's brothers, Timbuktu, Back Orifice.
407 1417 31337 2140 12345 54321 1026-1030 1025 5900 6970 7070 2967 39213 5500 4000
`
