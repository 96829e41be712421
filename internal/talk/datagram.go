package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"sonde/internal/dial"
	"sonde/internal/sock"
)

// Datagrams talks over a connected UDP socket: each line of the input, its line feed
// included, is one datagram, or with One the whole input is. At the end of the input it
// listens until the peer was silent for Wait.
//
// A refusal ends the conversation when it comes after the end of the input; until then the
// datagram that a refusal of an earlier one kept from being sent is sent again, and only the
// last thing heard decides. A datagram of zero bytes is a message like any other.
//
// A Read of in must end when in is closed.
func (c Conversation) Datagrams(ctx context.Context, conn *net.UDPConn, in io.ReadCloser, out Printer) Summary {
	d := &datagrams{
		session:  session{Conversation: c, conn: conn, in: in, out: out, start: time.Now()},
		trouble:  dial.NewTrouble(conn),
		refusals: make(chan dial.Refusal),
		moved:    make(chan struct{}, 1),
		over:     make(chan struct{}),
	}
	d.summary.unit = "datagram"
	if d.Wait == 0 {
		d.Wait = time.Second
	}
	sender, receiver := spawn(d.send), spawn(d.receive)
	d.follow(ctx, sender, receiver)
	close(d.over)
	return d.finish(sender, receiver)
}

// datagrams is a session over UDP.
type datagrams struct {
	session
	trouble  *dial.Trouble
	refusals chan dial.Refusal // from both halves to the one that follows
	moved    chan struct{}     // something was sent: the time to wait for its reply begins
	over     chan struct{}     // closed when nobody takes refusals any more

	// These belong to the goroutine that follows.
	refusal   dial.Refusal
	refusedAt time.Duration // when the last refusal came; zero: never
	told      bool          // of the refusal
	silentFor time.Duration // the sending whose silence was told
}

// follow watches both directions until the conversation is over.
func (d *datagrams) follow(ctx context.Context, sender, receiver <-chan outcome) {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		timer.Reset(d.check())
		if d.ended {
			return
		}
		select {
		case <-ctx.Done():
			d.endInterrupted(ctx)
		case o := <-sender:
			sender = nil
			d.inputOver(o)
		case o := <-receiver:
			receiver = nil
			d.peerOver(o)
		case r := <-d.refusals:
			d.refused(r)
		case <-d.moved:
		case <-timer.C:
		}
	}
}

// refused takes note of a refusal, which is the last word once the input is at its end.
func (d *datagrams) refused(r dial.Refusal) {
	d.refusal, d.refusedAt = r, d.now()
	d.summary.Refusals++
	d.told = false
	if d.inputEnded != 0 {
		d.endRefused()
	}
}

func (d *datagrams) endRefused() {
	if d.refusal.PortUnreachable() {
		d.end(sock.Reset, nil, d.refusal.String())
		return
	}
	d.end(sock.Failed, errors.New(d.refusal.String()), d.refusal.String())
}

// isRefused reports whether a refusal is the last thing heard.
func (d *datagrams) isRefused() bool {
	return d.refusedAt != 0 && d.refusedAt > d.heard.when()
}

func (d *datagrams) inputOver(o outcome) {
	var input *inputError
	var long *TooLongError
	switch {
	case o.panicked != nil:
		d.endPanicked(o.panicked)
	case errors.As(o.err, &input), errors.As(o.err, &long):
		d.end(sock.Failed, o.err, "we closed: "+o.err.Error())
	case o.err != nil:
		d.endBroken(o.err)
	default:
		d.inputEnded = d.now()
		if d.isRefused() && d.refusedAt > d.sent.when() {
			d.endRefused()
		}
	}
}

func (d *datagrams) peerOver(o outcome) {
	output := asOutput(o.err)
	switch {
	case o.panicked != nil:
		d.endPanicked(o.panicked)
	case output != nil:
		d.endOutput(output)
	default:
		d.endBroken(o.err)
	}
}

func (d *datagrams) endBroken(err error) {
	ending := sock.EndingOf(err)
	switch {
	case ending == sock.Limit:
		d.end(ending, err, "a limit of this machine: "+err.Error())
	case errors.Is(err, syscall.EPERM):
		d.end(sock.Failed, err, d.trouble.OwnFirewall())
	default:
		d.end(sock.Failed, err, err.Error())
	}
}

// check ends the conversation if its time is up, and returns how long until it must be
// asked again.
func (d *datagrams) check() time.Duration {
	switch {
	case d.ended:
		return forever
	case d.inputEnded != 0:
		return d.checkSilence()
	case d.isRefused() && !d.told:
		return d.checkRefused()
	case d.Interactive:
		return d.checkReply()
	}
	return forever
}

// checkSilence waits for the last replies.
func (d *datagrams) checkSilence() time.Duration {
	silent := d.silence(d.inputEnded)
	if d.sent.when() != 0 && !d.Interactive && silent < d.Wait {
		return d.Wait - silent
	}
	switch {
	case d.isRefused():
		d.endRefused()
	case d.sent.when() == 0:
		d.end(sock.ByUs, nil, "we closed: the input was empty, and no datagram was sent")
	case d.Interactive || d.Wait < 0:
		d.end(sock.ByUs, nil, d.weClosed())
	case d.heard.when() == 0:
		d.end(sock.TimedOut, nil, silenceMeans(d.Wait))
	default:
		d.end(sock.ByUs, nil, fmt.Sprintf("%s, then %v of silence", d.weClosed(), d.Wait))
	}
	return forever
}

func silenceMeans(wait time.Duration) string {
	return fmt.Sprintf("no reply within %v: over UDP silence means nothing: lost, dropped, or a server that does not answer", wait)
}

// checkRefused tells of a refusal while the input goes on: a person at once, a pipe
// when it stays open, because its end would tell the same.
func (d *datagrams) checkRefused() time.Duration {
	if age := d.now() - d.refusedAt; !d.Interactive && age < refusedTime {
		return refusedTime - age
	}
	d.told = true
	d.note(d.refusal.String())
	return 0
}

// checkReply tells a person of a datagram that got no reply.
func (d *datagrams) checkReply() time.Duration {
	sent := d.sent.when()
	if sent == d.silentFor || d.heard.when() >= sent || d.refusedAt >= sent {
		return forever
	}
	if age := d.now() - sent; age < silentTime {
		return silentTime - age
	}
	d.silentFor = sent
	d.note(silenceMeans(silentTime))
	return forever
}
