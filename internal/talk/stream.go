package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"sonde/internal/dial"
	"sonde/internal/sock"
)

// Stream talks over a connection of bytes. The end of the input is passed on as a FIN, or TLS's close_notify,
// where conn has a CloseWrite; then the peer is listened to until its own.
//
// When the peer's FIN comes first, what the input still brings goes on being sent, for a
// FIN closes one direction only, until it brings nothing for a second (or Wait).
//
// A Read of in must end when in is closed.
func (c Conversation) Stream(ctx context.Context, conn net.Conn, in io.ReadCloser, out Printer) Summary {
	s := &stream{session: session{Conversation: c, conn: conn, in: in, out: out, start: time.Now()}, words: wordsFor(conn)}
	s.summary.unit = "line"
	sender, receiver := spawn(s.send), spawn(s.receive)
	s.follow(ctx, sender, receiver)
	return s.finish(sender, receiver)
}

// A stream is a session over TCP. The fields here belong to the goroutine that follows it,
// but for the atomic ones, which the sender sets.
type stream struct {
	session
	words    words
	writeErr error
	failed   time.Duration // when writeErr came
	peerFIN  time.Duration // when the peer's FIN came
	told     bool          // that we are waiting
	toldFull bool          // that the peer does not read
	writing  atomic.Bool   // the sender waits for the peer to take what it writes
	finSent  atomic.Bool   // our FIN is on its way, so that a FIN of the peer's comes second
}

// words are those that a kind of connection has for its end in order, and for the other.
type words struct{ fin, rst string }

func wordsFor(conn net.Conn) words {
	switch conn.(type) {
	case *dial.TLSConn:
		return words{"close_notify", "RST"}
	case *net.UnixConn:
		return words{"end of file", "it closed without reading all"}
	}
	return words{"FIN", "RST"}
}

func (s *stream) peerClosed() string { return "the peer closed (" + s.words.fin + ")" }

// follow watches both directions until the conversation is over.
func (s *stream) follow(ctx context.Context, sender, receiver <-chan outcome) {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		timer.Reset(s.check())
		if s.ended {
			return
		}
		select {
		case <-ctx.Done():
			s.endInterrupted(ctx)
		case o := <-sender:
			sender = nil
			s.inputOver(o)
		case o := <-receiver:
			receiver = nil
			s.peerOver(o)
		case <-timer.C:
		}
	}
}

// inputOver takes note that nothing more will be sent.
func (s *stream) inputOver(o outcome) {
	var input *inputError
	switch {
	case o.panicked != nil:
		s.endPanicked(o.panicked)
	case o.err == nil && s.peerFIN != 0:
		s.end(sock.ByPeer, nil, s.peerClosed())
	case o.err == nil:
		s.inputEnded = s.now()
	case errors.As(o.err, &input):
		s.end(sock.Failed, o.err, "we closed: "+o.err.Error())
	case s.peerFIN != 0:
		s.endBroken(o.err, s.peerClosed()+", then ")
	default:
		// What the peer said before it went may still be unread.
		s.writeErr, s.failed = o.err, s.now()
	}
}

// peerOver takes note that nothing more will be heard.
func (s *stream) peerOver(o outcome) {
	output := asOutput(o.err)
	s.summary.PeerClosed = o.err == nil && o.panicked == nil
	switch {
	case o.panicked != nil:
		s.endPanicked(o.panicked)
	case output != nil:
		s.endOutput(output)
	case s.writeErr != nil:
		s.endBroken(s.writeErr, "")
	case o.err != nil:
		s.endBroken(o.err, "")
	case s.finSent.Load():
		s.end(sock.ByUs, nil, s.weClosed()+", then the peer ("+s.words.fin+")")
	case s.Interactive:
		s.end(sock.ByPeer, nil, s.peerClosed())
	default:
		s.peerFIN = s.now()
		s.detail(fmt.Sprintf("%s; what the input still brings is sent, until it brings nothing for %v", s.peerClosed(), s.patience()))
	}
}

// endBroken ends what a read or a write says is broken.
func (s *stream) endBroken(err error, before string) {
	if errors.Is(err, dial.ErrTruncated) { // not in order, and perhaps not even by the peer
		s.end(sock.Reset, nil, before+"the peer's side broke off ("+err.Error()+")")
		return
	}
	switch ending := sock.EndingOf(err); ending {
	case sock.Reset:
		s.end(ending, nil, before+"the peer reset the connection ("+s.words.rst+")")
	case sock.TimedOut:
		s.end(ending, nil, before+"the peer no longer answers, not even the system's own probes (timeout)")
	case sock.Limit:
		s.end(ending, err, before+"a limit of this machine: "+err.Error())
	default:
		s.end(sock.Failed, err, before+err.Error())
	}
}

// check ends the conversation if its time is up, and returns how long until it must be
// asked again.
func (s *stream) check() time.Duration {
	switch {
	case s.ended:
		return forever
	case s.writeErr != nil:
		left := drainTime - (s.now() - s.failed)
		if left <= 0 {
			s.endBroken(s.writeErr, "")
		}
		return left
	case s.peerFIN != 0:
		return s.checkLinger()
	case s.inputEnded != 0 && s.Interactive:
		left := s.leaveTime() - (s.now() - s.inputEnded)
		if left <= 0 || s.Wait < 0 {
			s.end(sock.ByUs, nil, "we closed; the peer kept its side open")
		}
		return left
	case s.inputEnded != 0:
		return s.checkSilence()
	}
	return s.checkFull()
}

// leaveTime is how long a peer that a person leaves may take to close its side.
func (s *stream) leaveTime() time.Duration {
	if s.Wait > 0 {
		return s.Wait
	}
	return leaveTime
}

// checkFull tells, once, of a peer that does not take what we write.
func (s *stream) checkFull() time.Duration {
	if s.toldFull {
		return forever
	}
	if s.writing.Load() && s.now()-s.sent.when() >= hangTime {
		s.toldFull = true
		s.note("the peer does not read: what we send waits for it")
	}
	return hangTime
}

// checkLinger waits, the peer having closed its side, for an input that has dried up.
func (s *stream) checkLinger() time.Duration {
	left := s.patience() - (s.now() - max(s.peerFIN, s.sent.when()))
	if left <= 0 {
		s.end(sock.ByPeer, nil, s.peerClosed())
	}
	return left
}

// patience is how long the input may bring nothing once the peer has closed its side.
func (s *stream) patience() time.Duration {
	if s.Wait != 0 {
		return max(0, s.Wait)
	}
	return lingerTime
}

// checkSilence waits, having closed our side, for the peer to close its own.
func (s *stream) checkSilence() time.Duration {
	if s.Wait < 0 {
		s.end(sock.ByUs, nil, s.weClosed())
		return forever
	}
	silent := s.silence(s.inputEnded)
	if s.Wait > 0 && silent >= s.Wait {
		s.end(sock.TimedOut, nil, fmt.Sprintf("the peer sent nothing and no %s for %v after ours (timeout)", s.words.fin, s.Wait))
		return forever
	}
	left := time.Duration(forever)
	if s.Wait > 0 {
		left = s.Wait - silent
	}
	if !s.told && left > 0 && silent >= hangTime {
		s.told = true
		s.note(fmt.Sprintf("input is at its end and our %s is sent; waiting for the peer's %s (--wait bounds this)", s.words.fin, s.words.fin))
	}
	if !s.told {
		left = min(left, hangTime-silent)
	}
	return left
}
