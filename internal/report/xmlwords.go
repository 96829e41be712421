package report

import (
	"encoding/xml"

	"sonde/internal/scan"
)

// The elements of nmap's XML, version 1.05, as far as sonde has something to say in them.

type xmlScanInfo struct {
	XMLName  xml.Name `xml:"scaninfo"`
	Type     string   `xml:"type,attr"`
	Proto    string   `xml:"protocol,attr"`
	N        uint64   `xml:"numservices,attr"`
	Services string   `xml:"services,attr"`
}

type xmlVerbose struct {
	XMLName xml.Name `xml:"verbose"`
	Level   int      `xml:"level,attr"`
}

type xmlDebugging struct {
	XMLName xml.Name `xml:"debugging"`
	Level   int      `xml:"level,attr"`
}

type xmlHost struct {
	XMLName  xml.Name   `xml:"host"`
	Start    int64      `xml:"starttime,attr,omitempty"`
	End      int64      `xml:"endtime,attr,omitempty"`
	TimedOut string     `xml:"timedout,attr,omitempty"`
	Comment  string     `xml:"comment,attr,omitempty"`
	Status   xmlStatus  `xml:"status"`
	Address  xmlAddress `xml:"address"`
	Names    xmlNames   `xml:"hostnames"`
	Ports    xmlPorts   `xml:"ports"`
}

type xmlStatus struct {
	State  string `xml:"state,attr"`
	Reason string `xml:"reason,attr"`
	TTL    uint8  `xml:"reason_ttl,attr"`
}

type xmlAddress struct {
	Addr string `xml:"addr,attr"`
	Type string `xml:"addrtype,attr"`
}

type xmlNames struct {
	Name []xmlName `xml:"hostname"`
}

type xmlName struct {
	Name string `xml:"name,attr"`
	Type string `xml:"type,attr"`
}

type xmlPorts struct {
	Extra []xmlExtraPorts `xml:"extraports"`
	Port  []xmlPort       `xml:"port"`
}

type xmlExtraPorts struct {
	State   string            `xml:"state,attr"`
	Count   uint64            `xml:"count,attr"`
	Reasons []xmlExtraReasons `xml:"extrareasons"`
}

type xmlExtraReasons struct {
	Reason string `xml:"reason,attr"`
	Count  uint64 `xml:"count,attr"`
	Proto  string `xml:"proto,attr"`
	Ports  string `xml:"ports,attr"`
}

type xmlPort struct {
	Proto   string      `xml:"protocol,attr"`
	Port    uint16      `xml:"portid,attr"`
	State   xmlState    `xml:"state"`
	Service *xmlService `xml:"service"`
	Script  *xmlScript  `xml:"script"`
}

type xmlState struct {
	xmlStatus
	From string `xml:"reason_ip,attr,omitempty"`
}

type xmlService struct {
	Name   string `xml:"name,attr"`
	Method string `xml:"method,attr"`
	Conf   int    `xml:"conf,attr"` // how sure, of 10; nmap gives 3 to what a table says
}

type xmlScript struct {
	ID     string `xml:"id,attr"`
	Output string `xml:"output,attr"`
}

type xmlStats struct {
	XMLName  xml.Name    `xml:"runstats"`
	Finished xmlFinished `xml:"finished"`
	Hosts    xmlHosts    `xml:"hosts"`
}

type xmlFinished struct {
	Time    int64  `xml:"time,attr"`
	TimeStr string `xml:"timestr,attr"`
	Summary string `xml:"summary,attr"`
	Elapsed string `xml:"elapsed,attr"`
	Exit    string `xml:"exit,attr"`
	Error   string `xml:"errormsg,attr,omitempty"`
}

type xmlHosts struct {
	Up    uint64 `xml:"up,attr"`
	Down  uint64 `xml:"down,attr"`
	Total uint64 `xml:"total,attr"`
}

func xmlExtra(e extra) xmlExtraPorts {
	out := xmlExtraPorts{State: e.state.String(), Count: e.count}
	for _, r := range e.reasons {
		out.Reasons = append(out.Reasons, xmlExtraReasons{r.reason.String(), r.ports.Len(), r.proto.String(), r.ports.Numbers()})
	}
	return out
}

func addrType(h scan.Host) string {
	if h.Addr.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// times returns when the first and the last of the ports answered, in seconds since 1970.
func times(rows []row) (first, last int64) {
	for i := range rows {
		if t := rows[i].nanos / 1e9; t > 0 {
			if first == 0 || t < first {
				first = t
			}
			last = max(last, t)
		}
	}
	return first, last
}
