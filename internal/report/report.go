// Package report writes what a scan found: as a table for people, as JSON lines for programs.
//
// A Report takes answers as they come, the silence of each span when it is over, and the
// sum at the end. It writes to the io.Writer it was made with, never closes it, and
// returns its errors. One goroutine uses it.
package report

import (
	"net/netip"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/service"
)

// A Report is one form in which results are written.
type Report interface {
	scan.Sink
	// Span says that a span of the scan is over, so that its hosts are known whole.
	Span(*scan.Summary) error
	// Close says that the scan is over, and what it came to.
	Close(total scan.Summary) error
}

// Options say what is shown. The zero value shows all, in black and white.
type Options struct {
	OpenOnly bool                  // open ports only
	Verbose  bool                  // sum up nothing
	Color    bool                  // open ports stand out; for terminals
	Names    map[netip.Addr]string // what the user called an address
}

func serviceName(proto probe.Proto, port uint16) string {
	return service.Name(port, proto == probe.UDP)
}
