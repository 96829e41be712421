package loss

// A census is what is counted of a path.
type census struct {
	geometric
	late         float64 // answers after pass 1
	open, silent uint64
}

func count(p Path, passes int) census {
	c := census{geometric: geometric{passes: passes}, open: p.Open, silent: p.Silent}
	for i, n := range p.Heard {
		c.answers += float64(n)
		c.wait += float64(i) * float64(n)
		if i > 0 {
			c.late += float64(n)
		}
	}
	return c
}

// take adds another census to c.
func (c *census) take(o census) {
	c.answers, c.wait, c.late = c.answers+o.answers, c.wait+o.wait, c.late+o.late
	c.open, c.silent = c.open+o.open, c.silent+o.silent
}

// A verdict is what a path has probably missed.
type verdict struct {
	fit       fit // of all answers together
	open, any miss
}

// A miss is how much is expected to be missed, and how much at the most, at each level.
type miss struct {
	expected float64
	upper    [2]float64
}

func (m *miss) atLeast(n miss) {
	for i := range m.upper {
		m.upper[i] = max(m.upper[i], n.upper[i])
	}
}

// judge takes all answers of a path to be lost alike.
func (c census) judge() verdict {
	f := evidence{c.geometric}.fit()
	return verdict{f, f.missed(float64(c.open), c.passes), f.missed(c.answers, c.passes)}
}
