package sock

// open leaves the portable way.
func (p *Patient) open() {}

func (p *Patient) tryRead(data []byte) (int, error) { return p.Conn.Read(data) }

// Ready returns at once.
func (p *Patient) Ready() error { return nil }
