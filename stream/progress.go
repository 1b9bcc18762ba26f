package stream

import (
	"io"
	"log/slog"
	"time"
)

// progressInterval is the time between two log lines of a transfer. One that is
// quicker has none.
const progressInterval = 10 * time.Second

// progress logs how far a transfer has come. It is an io.Reader or an io.Writer,
// whichever it was made of.
type progress struct {
	r      io.Reader
	w      io.Writer
	logger *slog.Logger
	msg    string
	total  int64 // bytes; 0 if not known
	done   int64
	began  time.Time
	next   time.Time
}

func newProgress(r io.Reader, logger *slog.Logger, msg string, total int64) *progress {
	now := time.Now()
	return &progress{r: r, logger: logger, msg: msg, total: total, began: now, next: now.Add(progressInterval)}
}

func newWriteProgress(w io.Writer, logger *slog.Logger, msg string) *progress {
	p := newProgress(nil, logger, msg, 0)
	p.w = w
	return p
}

// Read implements io.Reader.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.add(n)
	return n, err
}

// Write implements io.Writer.
func (p *progress) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.add(n)
	return n, err
}

func (p *progress) add(n int) {
	p.done += int64(n)
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(progressInterval)
	attrs := []any{slog.Int64("bytes", p.done), slog.Duration("duration", now.Sub(p.began).Round(time.Millisecond))}
	if p.total > 0 {
		attrs = append(attrs, slog.Int64("total", p.total))
	}
	p.logger.With(attrs...).Info(p.msg) //nolint:sloglint // the callers' messages are constant
}
