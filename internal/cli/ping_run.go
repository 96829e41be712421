package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
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
	summary(*measure.Report)
	found(measure.Finding)
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
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	addrs, err := p.addresses(ctx)
	if err != nil {
		return err
	}
	report := p.newReport()
	plan := p.plan(p.newDial(addrs), report)
	if p.search != "" {
		return p.runSearch(ctx, plan, report)
	}
	measured, err := p.measurement()(ctx, plan)
	if err != nil {
		return p.pingFailure(err)
	}
	report.summary(measured)
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
		Dial: d.dial, Size: p.size, Connections: p.connections, Rate: p.perSecond(), Window: p.window,
		Count: p.count, Duration: p.duration, Timeout: p.timeout, Seed: rand.Uint64(), Event: report.event,
	}
	if p.live() {
		plan.Reply = report.reply
	} else if p.search == "" {
		plan.Progress = report.progress
	}
	return plan
}

func (p *pinger) runSearch(ctx context.Context, plan measure.Plan, report pingReport) error {
	search := measure.Search{Plan: plan, Condition: p.condition, From: float64(p.rate.rate), Step: p.step, Told: report.step}
	found, err := search.Run(ctx)
	if errors.Is(err, errInterrupted) && found.Steps > 0 {
		p.note("interrupted: the search is not at its end")
		return exitWith(exitInterrupted)
	}
	if err != nil {
		return p.pingFailure(err)
	}
	report.found(found)
	if found.Rate == 0 {
		return failure(fmt.Errorf("no rate keeps %v", p.condition), "look at one rate: sonde ping --rate 1 --count 10 --histogram "+p.peer())
	}
	return nil
}

// verdict is the exit code.
func (p *pinger) verdict(r *measure.Report) error {
	switch {
	case r.Probes == r.Pending:
		return nil // interrupted before anything could be known
	case r.Answered+r.Late == 0:
		return p.nothing(r)
	case p.failOver.given && r.Loss() > p.failOver.of:
		return failure(fmt.Errorf("%s of the probes did not come back whole and in time, more than --fail-over %v", percent(r.Loss()), &p.failOver))
	}
	return nil
}

// nothing says what it means that not one probe was answered.
func (p *pinger) nothing(r *measure.Report) error {
	switch {
	case p.connect:
		return failure(fmt.Errorf("not one connection was made to %s", p.peer()))
	case r.Heard() > 0:
		return failure(fmt.Errorf("not one probe came back whole from %s", p.peer()))
	case p.udp && r.Refused > 0:
		return failure(fmt.Errorf("not one probe came back from %s, and the network refused some", p.peer()))
	case p.udp:
		return failure(fmt.Errorf("not one probe came back from %s: over UDP silence means nothing: lost, dropped, or a server that does not answer", p.peer()))
	}
	return failure(fmt.Errorf("not one probe came back from %s: the connection stands, and what listens there does not echo", p.peer()), p.otherwise())
}

// percent is a share as a person reads it.
func percent(share float64) string { return fmt.Sprintf("%.3g %%", share*100) }

const pingUsage = "name a host and a port: sonde ping localhost 9999"

// destination reads HOST PORT or HOST:PORT.
func (p *pinger) destination(args []string) error {
	if len(args) == 0 {
		return misuse(errors.New("no host given"), pingUsage)
	}
	if len(args) > 2 {
		return misuse(fmt.Errorf("too many arguments: %q", args[2:]), pingUsage)
	}
	host, port, err := dial.SplitAddress(args[0])
	switch {
	case len(args) == 2 && err == nil:
		return misuse(fmt.Errorf("two ports given: %s and %s", args[0], args[1]), "leave one out")
	case len(args) == 2 && errors.Is(err, dial.ErrNoPort):
		port = args[1]
	case errors.Is(err, dial.ErrNoPort) && host != "":
		return misuse(fmt.Errorf("no port given for %s", host), fmt.Sprintf("add one: sonde ping %s PORT", host))
	case err != nil:
		return misuse(fmt.Errorf("%q is no HOST:PORT: %w", args[0], err), "an IPv6 address goes in brackets: [::1]:9999")
	}
	if host == "" {
		return misuse(errors.New("the host is empty"), pingUsage)
	}
	p.host = host
	p.port, err = (&talker{app: p.app, udp: p.udp}).parsePort(port)
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
			return nil, exitWith(exitInterrupted)
		}
		return nil, failure(err, "check the spelling, or give its address")
	}
	p.resolved = time.Since(start)
	return addrs, p.fits(addrs[0])
}

// fits refuses a payload that no datagram to addr carries.
func (p *pinger) fits(addr netip.Addr) error {
	if most := dial.MaxPayload(addr); p.udp && p.size > most {
		return misuse(fmt.Errorf("--size %d is more than a datagram to %v carries: %d bytes at most", p.size, addr, most))
	}
	return nil
}
