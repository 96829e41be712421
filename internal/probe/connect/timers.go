package connect

import "time"

// timers hold one point in time for each of many descriptors: a binary heap, with the earliest on top. Times are since
// some beginning. The zero value is empty.
type timers struct {
	heap  []timer
	index []int32 // by descriptor: its place in the heap, from 1; 0: it has none
}

type timer struct {
	at time.Duration
	fd int32
}

// set sets fd's time, in place of the one that it may have.
func (t *timers) set(fd int, at time.Duration) {
	for fd >= len(t.index) {
		t.index = append(t.index, 0)
	}
	k := int(t.index[fd]) - 1
	if k < 0 {
		k = len(t.heap)
		t.heap = append(t.heap, timer{})
	}
	t.fix(k, timer{at, int32(fd)})
}

// stop takes away fd's time, if it has one.
func (t *timers) stop(fd int) {
	if fd >= len(t.index) || t.index[fd] == 0 {
		return
	}
	k := int(t.index[fd]) - 1
	t.index[fd] = 0
	end := len(t.heap) - 1
	last := t.heap[end]
	t.heap = t.heap[:end]
	if k < end {
		t.fix(k, last)
	}
}

// first returns whose time comes first, false if there is none.
func (t *timers) first() (fd int, at time.Duration, ok bool) {
	if len(t.heap) == 0 {
		return 0, 0, false
	}
	return int(t.heap[0].fd), t.heap[0].at, true
}

// fix puts e where it belongs, in place of what stands at k.
func (t *timers) fix(k int, e timer) {
	for k > 0 && e.at < t.heap[(k-1)/2].at {
		t.put(k, t.heap[(k-1)/2])
		k = (k - 1) / 2
	}
	for child := 2*k + 1; child < len(t.heap); child = 2*k + 1 {
		if child+1 < len(t.heap) && t.heap[child+1].at < t.heap[child].at {
			child++
		}
		if e.at <= t.heap[child].at {
			break
		}
		t.put(k, t.heap[child])
		k = child
	}
	t.put(k, e)
}

func (t *timers) put(k int, e timer) {
	t.heap[k] = e
	t.index[e.fd] = int32(k + 1)
}
