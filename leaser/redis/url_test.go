package redis

import (
	"reflect"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

func TestParseURL(t *testing.T) {
	for _, tt := range []struct {
		url    string
		want   goredis.UniversalOptions
		secure bool
	}{
		{"redis://host", goredis.UniversalOptions{Addrs: []string{"host:6379"}}, false},
		{"redis://host:1/", goredis.UniversalOptions{Addrs: []string{"host:1"}}, false},
		{"rediss://host/3", goredis.UniversalOptions{Addrs: []string{"host:6379"}, DB: 3}, true},
		{"redis://[::1]", goredis.UniversalOptions{Addrs: []string{"[::1]:6379"}}, false},
		{"redis://[::1]:7/1", goredis.UniversalOptions{Addrs: []string{"[::1]:7"}, DB: 1}, false},
		{"redis://:p@host", goredis.UniversalOptions{Addrs: []string{"host:6379"}, Password: "p"}, false},
		{"redis://u:p@host", goredis.UniversalOptions{Addrs: []string{"host:6379"}, Username: "u", Password: "p"}, false},
		{"redis://u%3a:p%2F%40%25:+@host", goredis.UniversalOptions{Addrs: []string{"host:6379"}, Username: "u:", Password: "p/@%:+"}, false},
		{"redis://u:p@q#@host", goredis.UniversalOptions{Addrs: []string{"host:6379"}, Username: "u", Password: "p@q#"}, false},
		{"redis+sentinel://a/m", goredis.UniversalOptions{Addrs: []string{"a:26379"}, MasterName: "m"}, false},
		{
			"rediss+sentinel://u:p@a:1,b,[::1]/m/2?sentinel_username=v&sentinel_password=q%26",
			goredis.UniversalOptions{
				Addrs: []string{"a:1", "b:26379", "[::1]:26379"}, MasterName: "m", DB: 2,
				Username: "u", Password: "p", SentinelUsername: "v", SentinelPassword: "q&",
			},
			true,
		},
		{"redis+cluster://a,b:2", goredis.UniversalOptions{Addrs: []string{"a:6379", "b:2"}, IsClusterMode: true}, false},
		{"rediss+cluster://:p@a/0", goredis.UniversalOptions{Addrs: []string{"a:6379"}, Password: "p", IsClusterMode: true}, true},
	} {
		got, err := parseURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if secure := got.TLSConfig != nil; secure != tt.secure {
			t.Errorf("%s: TLS %v, want %v", tt.url, secure, tt.secure)
		}
		got.TLSConfig = nil
		if !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.url, *got, tt.want)
		}
	}
}

// Of a URL that is not one everything may be a password.
func TestParseURLErrors(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"", "is none, must be such as redis://host:6379"},
		{"hunter2", "is none"},
		{"hunter2://host", "must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://"},
		{"http://:hunter2@host", "must begin with"},
		{"redissss://host", "must begin with"},
		{"redis://", "host 1 is not host or host:port"},
		{"redis://:hunter2@", "host 1 is not"},
		{"redis://:hunter2@host:", "host 1 is not"},
		{"redis://host:0", "host 1 is not"},
		{"redis://host:65536", "host 1 is not"},
		{"redis://a:b:c", "host 1 is not"},
		{"redis://user:hunter2/x@host:1", "must be percent-encoded"},
		{"redis://user:hunter2?x@host:1", "must be percent-encoded"},
		{"redis://::1", "host 1 is not"},
		{"redis://user@host", "has a user without a password"},
		{"redis://hunter2@host", "a password alone is written as :password@"},
		{"redis://u:hunter2%zz@host", "a % in user or password"},
		{"redis://host/hunter2", "has a database that is not a number from 0"},
		{"redis://host/-1", "has a database"},
		{"redis://host/0/1", "has a database"},
		{"redis://a,b", "names several hosts"},
		{"redis://host?password=hunter2", "has a query parameter other than"},
		{"redis://host?sentinel_password=hunter2", "has a query parameter other than"},
		{"redis+sentinel://host/m?hunter2", "has a query parameter other than"},
		{"redis+sentinel://host/m?a=%zzhunter2", "has a query that is not well formed"},
		{"redis+sentinel://host", "must name the master after the hosts"},
		{"redis+sentinel://a,,b/m", "host 2 is not"},
		{"redis+sentinel://host/m/hunter2", "has a database"},
		{"redis+cluster://host/1", "must not name a database"},
	} {
		_, err := NewLeaser(Config{URL: tt.url, Key: "k", TTL: minTTL})
		if err == nil {
			t.Errorf("%s: no error", tt.url)
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, "redis URL: ") || !strings.Contains(text, tt.want) ||
			strings.Contains(text, "hunter2") || strings.Contains(text, "\n") {
			t.Errorf("%s: %v, want one line with %q and no password", tt.url, err, tt.want)
		}
	}
}

func TestNewErrors(t *testing.T) {
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{TTL: minTTL}, "must not be empty"},
		{Config{Key: "a{b}", TTL: minTTL}, "nor contain braces"},
		{Config{Key: "a}", TTL: minTTL}, "nor contain braces"},
		{Config{Key: "k"}, "must be at least 100ms"},
		{Config{Key: "k", TTL: minTTL - 1}, "must be at least 100ms"},
		{Config{Key: "k", TTL: minTTL, CallTimeout: -1}, "must not be negative"},
	} {
		tt.config.URL = "redis://host"
		if _, err := NewLeaser(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.config, err, tt.want)
		}
	}
}

// What is not a lease is told from one.
func TestParseHolder(t *testing.T) {
	nonce := strings.Repeat("0f", nonceSize/2)
	h, err := parseHolder("9007199254740991-" + nonce + ` {"hostname":"a","advertise-url":"http://a"}`)
	if err != nil || h.epoch != 1<<53-1 || h.nonce != nonce || h.info.Hostname != "a" || h.info.AdvertiseURL != "http://a" {
		t.Errorf("parseHolder: %+v, %v", h, err)
	}
	for _, value := range []string{
		"", "x", "1", "1-", "1-" + nonce, "0-" + nonce + " {}", "-1-" + nonce + " {}", "1-" + nonce[1:] + " {}", "1-" + nonce + "0 {}",
		"9007199254740992-" + nonce + " {}", "1-" + nonce + " ", "1-" + nonce + " []", "1-" + nonce + " {",
	} {
		if h, err := parseHolder(value); err == nil {
			t.Errorf("parseHolder of %q: %+v, want an error", value, h)
		}
	}
}
