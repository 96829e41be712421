package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"sonde/internal/dial"
	"sonde/internal/measure"
	"sonde/internal/sock"
)

// ended is the exit code where a signal may have ended the command. Ctrl-C is how a ping without a count ends: the code is
// that of what it found. A search is cut short by it.
func (p *pinger) ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if p.search == "" && errors.Is(cause, signalError(syscall.SIGINT)) {
		return err
	}
	return signalOr(cause, err)
}

// pingFailure is what is told of a measurement that could not be made.
func (p *pinger) pingFailure(err error) error {
	var (
		refused  *dial.Error
		secured  *dial.TLSError
		stranger *measure.StrangerError
		hangup   *measure.HangupError
		signal   signalError
	)
	switch {
	case errors.As(err, &signal):
		return failure(fmt.Errorf("%w before a connection to %s stood", err, p.peer()))
	case errors.As(err, &refused):
		return p.withFamily(dialFailure(refused, netip.AddrPort{}))
	case errors.As(err, &secured):
		return tlsFailure(secured)
	case errors.As(err, &stranger):
		return failure(fmt.Errorf("%s is no echo server: %w", p.peer(), err), p.otherwise())
	case errors.As(err, &hangup):
		return failure(fmt.Errorf("%s does not echo: %w", p.peer(), err), p.otherwise())
	}
	return failure(err)
}

// withFamily adds what to try where -4 or -6 may be the reason.
func (p *pinger) withFamily(err error) error {
	var told *exitError
	if (p.only4 || p.only6) && errors.As(err, &told) {
		told.hints = append(told.hints, p.familyHint())
	}
	return err
}

func (p *pinger) familyHint() string {
	if p.only6 {
		return "leave out -6, and its IPv4 address is asked as well"
	}
	return "leave out -4, and its IPv6 address is asked as well"
}

// otherwise is what to do where no echo server is.
func (p *pinger) otherwise() string {
	if p.udp {
		return fmt.Sprintf("ask it as what it is: sonde talk --udp %s %d", p.host, p.port)
	}
	return fmt.Sprintf("measure the connection alone: sonde ping --connect %s %d", p.host, p.port)
}

// verdict is the exit code: one whole reply in time is needed, and with --fail-over as many as it says.
func (p *pinger) verdict(r *measure.Report) error {
	switch {
	case r.Answered == 0 && p.connect:
		return p.noConnection(r)
	case r.Answered == 0:
		return p.nothing(r)
	case p.failOver.given && r.Failed() > p.failOver.of:
		return failure(fmt.Errorf("%s of the probes did not come back whole and in time, more than --fail-over %v", percent(r.Failed()), &p.failOver))
	}
	return nil
}

// noConnection says why not one connection stood: by the last of the reasons.
func (p *pinger) noConnection(r *measure.Report) error {
	switch {
	case p.notOpen != nil:
		return p.pingFailure(p.notOpen)
	case r.Probes == r.Pending:
		return failure(fmt.Errorf("no connection to %s stands yet", p.peer()))
	}
	return failure(fmt.Errorf("not one connection was made to %s", p.peer()))
}

// nothing says what it means that not one probe was answered.
func (p *pinger) nothing(r *measure.Report) error {
	silent := fmt.Errorf("nothing came from %s within --timeout %v", p.peer(), p.timeout)
	switch {
	case r.Probes == r.Pending:
		return failure(fmt.Errorf("nothing came back yet from %s", p.peer()))
	case r.Late > 0:
		return failure(fmt.Errorf("%w; what came, came later", silent), "give it more time: --timeout 10")
	case r.Corrupt > 0:
		return failure(fmt.Errorf("not one probe came back whole from %s", p.peer()))
	case r.Sent() == 0:
		return failure(fmt.Errorf("not one probe could be sent to %s", p.peer()))
	case p.udp && r.Refused > 0:
		return failure(fmt.Errorf("not one probe came back from %s, and the network refused some", p.peer()))
	case p.udp:
		return failure(fmt.Errorf("%w: over UDP silence means nothing: lost, dropped, slow, or a server that does not answer", silent), p.otherwise())
	case r.Broken > 0:
		return failure(fmt.Errorf("not one probe came back from %s: connections broke %s", p.peer(), howOften(int(r.Broken))), p.otherwise())
	}
	return failure(fmt.Errorf("%w: it does not echo, speaks TLS, does not let you in, or is slower", silent), p.tryInstead())
}

func (p *pinger) tryInstead() string {
	if p.tls {
		return fmt.Sprintf("try --timeout 10, or measure the connection alone: sonde ping --tls --connect %s %d", p.host, p.port)
	}
	return fmt.Sprintf("try --timeout 10, or --tls, or measure the connection alone: sonde ping --connect %s %d", p.host, p.port)
}

// reason is why something ended or failed, in a word for programs.
func reason(err error) string {
	var (
		refusal *measure.RefusedError
		refused *dial.Error
		secured *dial.TLSError
		alien   *measure.StrangerError
		hangup  *measure.HangupError
		signal  signalError
	)
	switch {
	case errors.As(err, &signal):
		return "interrupted"
	case errors.Is(err, measure.ErrDown):
		return "down"
	case errors.Is(err, measure.ErrHeld):
		return "held"
	case errors.Is(err, measure.ErrFull):
		return sock.Limit.String()
	case errors.As(err, &alien):
		return "no-echo"
	case errors.As(err, &hangup):
		err = hangup.Err
	case errors.As(err, &secured) && secured.Ending == sock.Failed:
		return "tls"
	case errors.As(err, &secured):
		return secured.Ending.String()
	case errors.As(err, &refusal) && refusal.PortUnreachable(), errors.As(err, &refused) && refused.Ending == sock.Reset && !refused.Met:
		return "refused"
	case refusal != nil, refused != nil && refused.ICMP != nil:
		return "unreachable"
	case refused != nil:
		return refused.Ending.String()
	}
	return sock.EndingOf(err).String()
}

// brokenBy words what ended a connection before its time.
func brokenBy(err error) string {
	switch sock.EndingOf(err) {
	case sock.ByPeer:
		return "was closed by the peer (FIN)"
	case sock.Reset:
		return "was reset by the peer (RST)"
	case sock.TimedOut:
		return "timed out: the peer answers no more"
	}
	var inner interface{ Unwrap() error }
	if errors.As(err, &inner) && inner.Unwrap() != nil {
		err = inner.Unwrap()
	}
	return fmt.Sprintf("ended: %v", err)
}
