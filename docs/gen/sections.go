package main

// A section is what a manual page says beside the command's own help.
type section struct {
	title   string
	prose   string // paragraphs, parted by empty lines
	entries []entry
}

// sections are those of each command, in the order in which they are written.
var sections = map[string][]section{
	"sonde":  {commonExits, commonSignals, environment, commonFiles},
	"scan":   {scanOutput, scanJSON, scanExits, scanSignals, environment, scanFiles},
	"report": {reportOutput, reportExits},
	"talk":   {talkExits, talkSignals, resolverFiles},
	"echo":   {serverOutput, serverExits, serverSignals, resolverFiles},
	"listen": {serverOutput, serverExits, serverSignals, resolverFiles},
	"doctor": {doctorOutput, doctorGroups, doctorExits, doctorFiles},
}

var commonExits = section{"EXIT STATUS", "", []entry{
	{"0", "Done."},
	{"1", "Failed; a line on standard error says what, and often what to do next."},
	{"2", "Misused: an argument or an option that makes no sense. Nothing was sent."},
	{"3, 4, 5", "How a conversation ended: see sonde-talk(1)."},
	{"130", "Interrupted."},
}}

var commonSignals = section{"SIGNALS", "", []entry{
	{"SIGINT, SIGTERM", "End the command: what was found is told, connections may finish. A second one ends it at once."},
	{"SIGUSR1", "Has sonde-scan(1) tell how far it is."},
}}

var environment = section{"ENVIRONMENT", "", []entry{
	{"NO_COLOR", "If it is set, and not empty, nothing is coloured. Without it colours are used on a terminal only."},
}}

var commonFiles = section{"FILES", "Sonde has no configuration file and keeps none of its own.", resolverFiles.entries}

var resolverFiles = section{"FILES", "", []entry{
	{"/etc/hosts, /etc/resolv.conf, /etc/nsswitch.conf", "Say how names are resolved."},
}}

var scanOutput = section{"OUTPUT", `
Results go to standard output, or to the files that --output names. Progress, notes, warnings and errors go to standard error. A progress line is shown only on a terminal, and only when the scan lasts.

The text report has a table for each host. Ports that many have the same to say are summed up under it, but for open ones; -v shows each. The reason of a port is one of these:`, []entry{
	{"syn-ack", "open: the connection was made."},
	{"conn-refused", "closed: the host answered with a reset."},
	{"udp-response", "open: the answer belongs to what was asked."},
	{"no-response", "filtered, UDP: open|filtered: nobody said anything that belongs to the question, however often it was asked."},
	{"rate-limited", "filtered or open|filtered: nobody said anything, but the host was seen to limit how often it refuses. It proves nothing."},
	{"no-neighbor", "filtered: nobody on the link has the address."},
	{"middlebox", "open|filtered: it was accepted, but so are ports on which nothing listens."},
	{"port-unreach, host-unreach, net-unreach, proto-unreach, admin-prohibited, host-prohibited, net-prohibited, time-exceeded",
		"filtered: an ICMP error came back. Where another machine than the target sent it, that machine is named. UDP: port-unreach from the target itself is closed."},
}}

var scanJSON = section{"JSON", `
With -o json each line is an object. Its "type" says of what:`, []entry{
	{"scan", "The first line: version, args, start, seed, shard, the ports asked (tcp, udp) and the number of hosts."},
	{"result", "A verdict that was answered: addr, name, port, proto, service, state, reason, from (who sent the ICMP error), icmp_type, icmp_code, ttl, rtt_ms, attempt, time, banner (as safe text; banner_base64 has its bytes where they differ). Of several for one target the last counts."},
	{"silent", "Ports of a host that nobody answered for, with their state, the reason of their silence, and how many attempts were made."},
	{"undecided", "Ports of a host without a verdict: not asked, not waited for to the end, or not sent."},
	{"host", "What is to be said of a host as a whole: middlebox, limited, gave_up, ptr."},
	{"summary", "The last line. open + closed + filtered + open_filtered + undecided = targets. loss is the share of packets that got lost, expected_missed how many open ports were probably missed, expected_missed_95 how many at the most in 95 scans of 100; they are absent where too little was heard to tell."},
}}

var reportOutput = section{"OUTPUT", `
The outputs are those of sonde-scan(1). Of a target that several files have, the better knowledge counts: open before all, an answer before silence.`, nil}

var reportExits = section{"EXIT STATUS", "", []entry{
	{"0", "The files were read and joined, whatever they say."},
	{"1", "A file could not be read, or is no output of sonde-scan(1)."},
	{"2", "Misused: an argument or an option that makes no sense."},
	{"6", "--fail-on found what it names."},
}}

var scanExits = section{"EXIT STATUS", "", []entry{
	{"0", "The scan ran as it was told, whatever it found. Where --max-time or --host-timeout cut something off, the report says INCOMPLETE (JSON: complete is false)."},
	{"1", "It failed, or a name could not be resolved, or ports could not be asked for a reason of this machine's."},
	{"2", "Misused: an argument or an option that makes no sense. Nothing was sent."},
	{"6", "--fail-on found what it names."},
	{"130, 143", "Interrupted by SIGINT (130) or SIGTERM (143); what was found is reported, and marked as incomplete."},
}}

var scanSignals = section{"SIGNALS", "", []entry{
	{"SIGINT, SIGTERM", "End the scan at once, and report what was found. A second one kills."},
	{"SIGUSR1", "Prints one line of status to standard error: percent asked, probes a second, ports that answered, ports open, time left."},
}}

var scanFiles = section{"FILES", "", append([]entry{
	{"--journal FILE", "What has been asked and found so far, one JSON object a line, each with a checksum of all up to it. It is only ever appended to, and locked while a scan runs."},
	{"FILE.partial", "What --output FORMAT=FILE is written to until it is complete. Then it becomes FILE, which keeps what it was until that moment."},
}, resolverFiles.entries...)}

var talkExits = section{"EXIT STATUS", "", []entry{
	{"0", "Ended by the peer's FIN or by us."},
	{"1", "Failed: refused over TCP, no route, a name that could not be resolved."},
	{"2", "Misused: an argument or an option that makes no sense. Nothing was sent."},
	{"3", "Reset by the peer; over UDP, refused: ICMP said that nobody listens there."},
	{"4", "Timed out: no connection within --timeout, or no reply within --wait."},
	{"5", "A limit of this machine: descriptors, memory or ports. It says nothing of the peer."},
	{"129, 130, 143", "Ended by SIGHUP, SIGINT (Ctrl-C) or SIGTERM: 128 and the signal's number."},
}}

var talkSignals = section{"SIGNALS", "", []entry{
	{"SIGINT, SIGTERM, SIGHUP", "End the conversation. The terminal is given back as it was."},
	{"SIGTSTP, SIGCONT", "On a terminal: stop and go on, the terminal given back meanwhile."},
}}

var serverOutput = section{"OUTPUT", `
Each socket is one line on standard output when it is ready: "listening tcp 127.0.0.1:9999". What happens to connections is logged on standard error, where -q silences it and -v adds who connects.`, nil}

var serverExits = section{"EXIT STATUS", "", []entry{
	{"0", "Ended as it was told to: by a signal, --once or --count."},
	{"1", "Failed: the address is in use, is not this machine's, or must not be listened on."},
	{"2", "Misused: an argument or an option that makes no sense."},
}}

var serverSignals = section{"SIGNALS", "", []entry{
	{"SIGINT, SIGTERM", "Accept no more. Connections have --grace to end; how many were cut is told. A second one kills."},
}}

var doctorOutput = section{"OUTPUT", `
What is told goes to standard output, errors go to standard error. With -o json each line is an object with group, name, status, finding and, with the status lack, command.`, []entry{
	{"ok", "It is there, or is enough."},
	{"lack", "It is not, and the command beneath mends it. The commands are for root, some until the next boot, that for open files for the shell that it is pasted into. Where there is no way to a target, the command asks the system why."},
	{"note", "Worth knowing; no command here changes it."},
}}

var doctorGroups = section{"WHAT IS LOOKED AT", "", []entry{
	{"privileges", "Raw sockets (CAP_NET_RAW) are opened, and the capabilities of the XDP engine (CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON) read; ping is what --alive of sonde-scan(1) asks by."},
	{"kernel", "The XDP engine's program is loaded and run for some frames, all of which it drops. It is attached to nothing."},
	{"interfaces", "The driver, whether XDP programs run in it, and whether it sends redirected frames, as the kernel has it (Linux 6.3): many drivers send them only while a program is attached, and then a scan finds out. Another program's XDP keeps that of sonde away."},
	{"limits", "Open files; the ports that connections come from; the neighbour table, which must hold every host of a network on a link that is scanned; and the connection table of a firewall here, whose entries for unanswered SYNs stay for two minutes."},
	{"route to TARGET", "Interface, next hop, source address and MTU, the link address of the next hop if it is known, and who would send the SYNs of a scan (--engine of sonde-scan(1))."},
}}

var doctorExits = section{"EXIT STATUS", "", []entry{
	{"0", "It was told, whatever is lacked."},
	{"1", "A target has no route, or its name could not be resolved."},
	{"2", "Misused: an argument or an option that makes no sense."},
}}

var doctorFiles = section{"FILES", "", append([]entry{
	{"/proc/sys/net", "Has the limits."},
}, resolverFiles.entries...)}
