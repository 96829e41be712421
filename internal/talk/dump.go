package talk

import (
	"fmt"
	"io"
)

// A Dump writes the peer's bytes in hexadecimal, as AppendDump does.
type Dump struct {
	W         io.Writer
	Datagrams bool // each reply's offsets begin at zero

	offset int64
}

// Print writes r's rows; a reply without a byte has one that shows its offset alone.
func (d *Dump) Print(r Reply) (bool, error) {
	_, err := d.W.Write(d.append(nil, r.Data))
	return false, err
}

func (d *Dump) append(dst, data []byte) []byte {
	dst = AppendDump(dst, d.offset, data)
	d.skip(len(data))
	return dst
}

// skip counts what is shown otherwise.
func (d *Dump) skip(n int) {
	if !d.Datagrams {
		d.offset += int64(n)
	}
}

// Flush does nothing: no row waits to be filled.
func (*Dump) Flush() error { return nil }

const dumpRow = 16

// AppendDump appends data to dst in rows of sixteen bytes: the offset of the first, each
// in hexadecimal, and each again as a character, or a stop where it is no printing ASCII.
// Without data there is one row, of the offset alone.
func AppendDump(dst []byte, offset int64, data []byte) []byte {
	if len(data) == 0 {
		return fmt.Appendf(dst, "%08x\n", offset)
	}
	for len(data) > 0 {
		row := data[:min(dumpRow, len(data))]
		dst = appendDumpRow(dst, offset, row)
		data = data[len(row):]
		offset += int64(len(row))
	}
	return dst
}

func appendDumpRow(dst []byte, offset int64, row []byte) []byte {
	dst = fmt.Appendf(dst, "%08x ", offset)
	for i := range dumpRow {
		if i == dumpRow/2 {
			dst = append(dst, ' ')
		}
		if i < len(row) {
			dst = fmt.Appendf(dst, " %02x", row[i])
		} else {
			dst = append(dst, "   "...)
		}
	}
	dst = append(dst, "  |"...)
	for _, b := range row {
		if b < ' ' || b > '~' {
			b = '.'
		}
		dst = append(dst, b)
	}
	return append(dst, "|\n"...)
}
