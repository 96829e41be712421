package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonde/internal/dial"
	"sonde/internal/measure"
)

// A pingReport tells of a measurement while it is made, and of what it found. It is used by one goroutine at a time.
type pingReport interface {
	event(measure.Event)
	reply(measure.Reply)
	progress(measure.Counts)
	step(measure.Step)
	summary(*measure.Report, error)
	found(measure.Finding, error)
}

// run is the command: everything is checked before anything is sent.
func (p *pinger) run(cmd *cobra.Command, args []string) error {
	if err := p.check(); err != nil {
		return err
	}
	if err := p.destination(args); err != nil {
		return err
	}
	if p.tls {
		trust, err := p.readTrust(p.host)
		if err != nil {
			return err
		}
		p.trust = trust
	}
	ctx, stop := endedBySignal(cmd.Context())
	defer stop()
	report := p.newReport()
	addrs, err := p.addresses(ctx)
	if err != nil {
		return p.unresolved(ctx, report, err)
	}
	p.addr = netip.AddrPortFrom(addrs[0], p.port)
	return p.ended(ctx, p.measure(ctx, p.newDial(addrs), report))
}

// unresolved tells that there is no address. Misuse has no output.
func (p *pinger) unresolved(ctx context.Context, report pingReport, err error) error {
	var told *exitError
	if errors.As(err, &told) && told.code == exitMisused {
		return err
	}
	p.over(report, nil, err)
	return p.ended(ctx, err)
}

// over has a report end without a measurement.
func (p *pinger) over(report pingReport, measured *measure.Report, err error) {
	if measured == nil {
		measured = measure.NewReport()
	}
	if p.search != "" {
		report.found(measure.Finding{}, err)
	} else {
		report.summary(measured, err)
	}
}

func (p *pinger) measure(ctx context.Context, d *pingDial, report pingReport) error {
	defer d.close()
	if err := d.choose(ctx); err != nil && (!p.connect || ctx.Err() != nil) {
		p.over(report, nil, err)
		return p.pingFailure(err)
	}
	p.addr = d.addrs[0]
	plan := p.plan(d, report)
	if p.search != "" {
		return p.runSearch(ctx, plan, report)
	}
	measured, err := p.measurement()(ctx, plan)
	if err != nil {
		p.over(report, measured, err)
		return p.pingFailure(err)
	}
	report.summary(measured, nil)
	return p.verdict(measured)
}

func (p *pinger) newReport() pingReport {
	if p.format == "json" {
		return newPingJSON(p)
	}
	return newPingText(p)
}

func (p *pinger) measurement() func(context.Context, measure.Plan) (*measure.Report, error) {
	if p.connect {
		return measure.Knock
	}
	return measure.Run
}

func (p *pinger) plan(d *pingDial, report pingReport) measure.Plan {
	plan := measure.Plan{
		Dial: d.dial, Size: int(p.size), Connections: p.connections, Rate: p.perSecond(), Window: p.window,
		Count: p.count, Duration: p.duration, Timeout: p.timeout, Seed: rand.Uint64(),
		Event: func(e measure.Event) {
			if e.Kind == measure.NotOpen {
				p.notOpen = e.Err
			}
			report.event(e)
		},
	}
	if p.live() {
		plan.Reply = report.reply
	} else if p.search == "" {
		plan.Progress = report.progress
	}
	return plan
}

// percent is a share as a person reads it.
func percent(share float64) string { return fmt.Sprintf("%.3g %%", share*100) }

// destination reads HOST PORT or HOST:PORT.
func (p *pinger) destination(args []string) (err error) {
	if len(args) > 0 && strings.HasPrefix(args[0], unixPrefix) {
		return misuse(fmt.Errorf("ping has no %s", unixPrefix), "it measures TCP, TLS and UDP; such a socket is talked to: sonde talk "+args[0])
	}
	p.host, p.port, err = hostPort("ping", args, p.udp)
	return err
}

// addresses returns those of the host that -4 and -6 leave and that the size fits.
func (p *pinger) addresses(ctx context.Context) ([]netip.Addr, error) {
	addr, err := netip.ParseAddr(p.host)
	if err == nil {
		if addr = addr.Unmap(); !p.allows(addr) {
			return nil, misuse(fmt.Errorf("%v is no %s address, and no other is allowed", addr, p.family), "leave out -4 or -6")
		}
		return []netip.Addr{addr}, p.fits(addr)
	}
	start := time.Now()
	addrs, err := p.lookUp(ctx, p.host)
	if err != nil {
		if ctx.Err() != nil {
			return nil, failure(fmt.Errorf("%w before %s was resolved", context.Cause(ctx), p.host))
		}
		return nil, p.withFamily(failure(err, "check the spelling, or give its address"))
	}
	p.resolved = time.Since(start)
	return addrs, p.fits(addrs[0])
}

// fits refuses a payload that no datagram to addr carries.
func (p *pinger) fits(addr netip.Addr) error {
	if most := dial.MaxPayload(addr); p.udp && int(p.size) > most {
		return misuse(fmt.Errorf("--size %d is more than a datagram to %v carries: %d bytes at most", p.size, addr, most))
	}
	return nil
}
