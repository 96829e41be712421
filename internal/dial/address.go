package dial

import (
	"errors"
	"net"
	"net/netip"
	"strings"
)

// ErrNoPort is what SplitAddress returns for a host that lacks its port.
var ErrNoPort = errors.New("no port given")

// SplitAddress splits HOST:PORT, where an IPv6 address stands in brackets, into its parts as
// they are written. Neither is empty.
func SplitAddress(text string) (host, port string, err error) {
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	if _, err := netip.ParseAddr(bare); err == nil {
		return bare, "", ErrNoPort
	}
	host, port, err = net.SplitHostPort(text)
	var addrErr *net.AddrError
	switch {
	case errors.As(err, &addrErr) && addrErr.Err == "missing port in address":
		return text, "", ErrNoPort
	case errors.As(err, &addrErr):
		return "", "", errors.New(addrErr.Err)
	case err != nil:
		return "", "", err
	case host == "":
		return "", "", errors.New("no host given")
	case port == "":
		return host, "", ErrNoPort
	}
	return host, port, nil
}
