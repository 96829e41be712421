package loss

// A pool is the hosts that have too few answers to be judged one by one. Taken as one path they would hide that some
// lose more than others, and what was missed would be told too low: of two hosts, one that loses nothing and one that
// loses 30 %, 4.5 % are missed in two passes, and not the square of 15 %. What is missed is missed where answers come
// late, so the pool is judged by the hosts of its late answers, each host as often as it had one.
type pool struct {
	all      census    // taken together
	late     geometric // answers after pass 1, by how long they waited after pass 2
	lateOpen float64   // how many of those were of open ports, to judge by their hosts
	beside   geometric // the other answers of the hosts of late ones; a host with m late ones counts m times
	hosts    float64   // the number of those others, each host counted once
}

func newPool(passes int) pool {
	return pool{
		all:    census{geometric: geometric{passes: passes}},
		late:   geometric{passes: max(passes-1, 1)},
		beside: geometric{passes: passes},
	}
}

func (p *pool) add(c census) {
	p.all.take(c)
	if c.late == 0 {
		return
	}
	p.late.answers += c.late
	p.late.wait += c.wait - c.late
	p.lateOpen += c.late * float64(c.open) / c.answers
	p.beside.answers += c.late * (c.answers - 1)
	p.beside.wait += (c.late - 1) * c.wait
	p.hosts += c.answers - 1
}

// plus returns the pool of two spans, of which it remembers the smaller number of passes, unless all was heard in them.
func (p pool) plus(o pool) pool {
	if p.all.answers == 0 || o.all.answers == 0 {
		if p.all.answers == 0 {
			return o
		}
		return p
	}
	passes := min(p.all.passes, o.all.passes)
	if p.all.silent == 0 || o.all.silent == 0 {
		passes = max(p.all.passes, o.all.passes)
	}
	sum := newPool(passes)
	for _, q := range []pool{p, o} {
		sum.all.take(q.all)
		sum.late.answers, sum.late.wait = sum.late.answers+q.late.answers, sum.late.wait+q.late.wait
		sum.beside.answers, sum.beside.wait = sum.beside.answers+q.beside.answers, sum.beside.wait+q.beside.wait
		sum.lateOpen, sum.hosts = sum.lateOpen+q.lateOpen, sum.hosts+q.hosts
	}
	return sum
}

// What the hosts of late answers tell is worth half of its answers, for those of one host come in clusters. Beside it
// count so many answers of the average host: where hosts have too few answers to tell them apart, they are taken to be alike.
const (
	worth   = 0.5
	average = 10
)

// judge expects what the late answers tell. The bound is theirs or that of all together, whichever is more.
func (p *pool) judge() verdict {
	together := p.all.judge()
	if p.all.late == 0 {
		return together
	}
	f := evidence{p.late, p.beside.scaled(worth * p.hosts), p.all.scaled(average)}.fit()
	f.upper[near] = f.upper[far] // the number of late answers is itself a matter of chance
	apart := verdict{together.fit, f.missed(p.lateOpen, p.late.passes), f.missed(p.late.answers, p.late.passes)}
	apart.open.atLeast(together.open)
	apart.any.atLeast(together.any)
	return apart
}
