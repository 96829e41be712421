package sock

import (
	"net"
	"os"
	"sync"
)

// A Spare is a descriptor that is kept for the moment when there are no more. Acceptors share it; they give it up in turns, and for no longer
// than it takes to accept a client who is there already.
type Spare struct {
	mu   sync.Mutex
	file *os.File
}

// NewSpare takes a descriptor. If there is none now, the first Acceptor that finds one takes it. The caller closes the Spare
// when nobody accepts any more.
func NewSpare() *Spare {
	s := new(Spare)
	_ = s.take()
	return s
}

// Close gives the descriptor back.
func (s *Spare) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.giveUp()
}

// take takes it, unless it is held.
func (s *Spare) take() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeBack()
}

// turnAway accepts the next of a queue with it, and closes the connection. While it is lost to somebody else, it fails.
func (s *Spare) turnAway(q queue) (peer net.Addr, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.giveUp()
	peer, err = q.turnAway()
	_ = s.takeBack()
	return peer, err
}

func (s *Spare) takeBack() (err error) {
	if s.file != nil {
		return nil
	}
	file, err := os.Open(os.DevNull)
	if err == nil {
		s.file = file
	}
	return err
}

func (s *Spare) giveUp() error {
	file := s.file
	s.file = nil
	if file == nil {
		return nil
	}
	return file.Close()
}
