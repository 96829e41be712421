package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"sonde/internal/target"
)

// An exclusion is something that must not be scanned, and where that was said: --exclude, or never.txt:3.
type exclusion struct {
	target.Spec
	place string
}

// exclusions reads all that must not be scanned: what --exclude names, and what stands in files.
func (s *selection) exclusions() (all []exclusion, err error) {
	for _, list := range s.exclude {
		for text := range strings.SplitSeq(list, ",") {
			if all, err = s.exclusion(all, strings.TrimSpace(text), "--exclude"); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range s.excludeFiles {
		if all, err = s.exclusionsIn(all, name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// exclusionsIn adds those of a file. An empty one says that nothing is to be left out.
func (s *selection) exclusionsIn(all []exclusion, name string) ([]exclusion, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, misuse(fmt.Errorf("cannot read what is to be left out: %w", err), "nothing was scanned; a file that leaves nobody out may be empty")
	}
	defer f.Close()
	err = eachWord(name, f, func(word, place string) (err error) {
		for text := range strings.SplitSeq(word, ",") {
			if text == "" { // a comma before a blank
				continue
			}
			if all, err = s.exclusion(all, text, place); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// exclusion adds what one word says.
func (s *selection) exclusion(all []exclusion, text, place string) ([]exclusion, error) {
	spec, err := target.ParseTarget(text, s.proto, services{})
	if err != nil {
		return nil, badTarget(text, fmt.Errorf("%s: %w", place, err))
	}
	if spec.Ports.Len() > 0 {
		return nil, misuse(fmt.Errorf("%s: %s: whole hosts are left out, not single ports", place, text), "--exclude-ports leaves ports out, of every host")
	}
	return append(all, exclusion{spec, place}), nil
}

// resolveExclusions puts all addresses of a name in its place. A name that cannot be resolved is an error: to go on
// would probe what the user wanted left alone.
func resolveExclusions(ctx context.Context, exclusions []exclusion) (resolved []target.Spec, err error) {
	specs := make([]target.Spec, len(exclusions))
	for i, e := range exclusions {
		specs[i] = e.Spec
	}
	answers, err := family{}.lookUpAll(ctx, specs)
	if err != nil {
		return nil, err
	}
	for _, e := range exclusions {
		if e.Name == "" {
			resolved = append(resolved, e.Spec)
			continue
		}
		a := answers[e.Name]
		if a.err != nil {
			return nil, failure(fmt.Errorf("%s: %w", e.place, a.err), "nothing was scanned: what is to be left out is not known")
		}
		for _, addr := range a.addrs {
			resolved = append(resolved, target.Spec{First: addr, Last: addr})
		}
	}
	return resolved, nil
}
