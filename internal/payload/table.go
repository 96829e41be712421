package payload

// A service is what usually lives on a port.
type service struct {
	port uint16
	question
}

// table has the ports in ascending order. Nobody writes to it.
var table = []service{
	{7, echo},
	{11, text("systat")},
	{13, text("daytime")},
	{17, text("qotd")},
	{19, text("chargen")},
	{37, clock},
	{53, dns},
	{69, tftp},
	{80, quic},
	{88, kerberos},
	{111, sunRPC(100000, 2)}, // portmapper
	{123, ntp},
	{137, netBIOS},
	{161, snmp},
	{177, xdmcp},
	{389, cldap},
	{427, slp},
	{443, quic},
	{500, ike},
	{520, rip},
	{521, ripNG},
	{623, ipmi},
	{635, sunRPC(100005, 3)}, // mountd
	{784, quic},
	{853, quic},
	{875, sunRPC(100011, 1)}, // rquotad
	{1194, openVPN},
	{1434, sqlBrowser},
	{1645, radius},
	{1646, radiusAccounting},
	{1701, l2tp},
	{1812, radius},
	{1813, radiusAccounting},
	{1900, ssdp},
	{2049, sunRPC(100003, 3)}, // NFS
	{2123, gtp},
	{2152, gtp},
	{2221, dtls}, // EtherNet/IP, secured
	{2427, mgcp},
	{3391, dtls}, // RD Gateway
	{3478, stun},
	{3479, stun},
	{3671, knx},
	{3702, wsDiscovery},
	{4045, sunRPC(100021, 4)}, // nlockmgr
	{4433, dtls},
	{4500, ikeBehindNAT},
	{4569, iax2},
	{5060, sip},
	{5080, sip},
	{5349, dtls}, // STUN, secured
	{5351, natPMP},
	{5353, mdns},
	{5355, llmnr},
	{5683, coap},
	{5684, dtls}, // CoAP, secured
	{6881, dht},
	{6969, tracker},
	{7000, rx}, // AFS: file server
	{7001, rx}, // AFS: cache manager
	{7003, rx}, // AFS: volume locations
	{7946, memberlist},
	{8301, memberlist},
	{8302, memberlist},
	{8443, quic},
	{9600, fins},
	{9987, teamSpeak},
	{10001, ubiquiti},
	{10161, dtls}, // SNMP, secured
	{11211, memcached},
	{19132, bedrock},
	{19133, bedrock},
	{19302, stun},
	{20048, sunRPC(100005, 3)}, // mountd
	{25565, minecraft},
	{27015, source},
	{27016, source},
	{27960, quake3},
	{28015, source},
	{28960, quake3},
	{30718, lantronix},
	{32412, ssdp},              // Plex
	{32414, ssdp},              // Plex
	{32771, sunRPC(100000, 2)}, // portmapper, Solaris
	{44818, etherNetIP},
	{47808, bacnet},
	{51413, dht},
	{64738, mumble},
}
