package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// MaxFileSize bounds a configuration file, in bytes.
const MaxFileSize = 1 << 20

// Options says where to look for the configuration.
type Options struct {
	File        string         // path of the file; if empty, the usual places are searched
	NoExpandEnv bool           // leave variables in the file as they are
	Flags       *pflag.FlagSet // flags of AddFlags after parsing; may be nil
}

// Report says what was found on the way to a Config.
type Report struct {
	File    string   // the file that was read; empty if there was none
	Notices []string // one line each, for whoever started the program
}

// Load reads, completes and validates the configuration as the package comment
// describes. The error joins all problems; with an [ErrInvalid] the Config is
// complete, so that it can be shown.
func Load(options Options) (Config, Report, error) {
	path, data, err := readFile(options.File)
	if err != nil {
		return Config{}, Report{}, err
	}
	return load(options, path, data)
}

func load(options Options, path string, data []byte) (Config, Report, error) {
	file, fileErr := parseFile(path, data, options.NoExpandEnv)
	report := Report{File: path, Notices: append(file.notices, strayVariables(file.used)...)}
	if fileErr != nil {
		file.entries = nil // reported once
	}
	values := sources{flags: options.Flags, file: file}
	cfg, err := values.config()
	if err := errors.Join(fileErr, err); err != nil {
		return Config{}, report, err
	}

	err = errors.Join(cfg.derive(values.isSet), cfg.Validate())
	values.locate(err)
	if err != nil && path == "" {
		report.Notices = append(report.Notices,
			"there is no configuration file, looked for "+strings.Join(searchPaths(), ", "))
	}
	return cfg, report, err
}

// readFile returns path and content of the configuration file, both empty if
// none was named and there is none.
func readFile(name string) (path string, data []byte, err error) {
	if name != "" {
		data, err = readBounded(name)
		return name, data, err
	}
	for _, path := range searchPaths() {
		data, err := readBounded(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return path, data, err
	}
	return "", nil, nil
}

// searchPaths lists the places of a configuration file, best first.
func searchPaths() []string {
	const name = "litefs.yml"
	paths := []string{name}
	if home := os.Getenv("HOME"); home != "" {
		paths = append(paths, filepath.Join(home, name))
	}
	return append(paths, filepath.Join("/etc", name))
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	if len(data) > MaxFileSize {
		return nil, fmt.Errorf("read configuration file: %s is larger than %d bytes", path, MaxFileSize)
	}
	return data, nil
}
