package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"litefs/internal/servertest"
	"litefs/leaser/redis"
)

// With rediss:// a server proves who it is before it gets the password.
func TestTLS(t *testing.T) {
	trusted, trustedKey := certificate(t)
	t.Setenv("SSL_CERT_FILE", trusted) // read once in a process, and this is the only test that has a use for it
	url := startTLS(t, trusted, trustedKey)
	lease := acquire(t, open(t, url, nodeA))
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew: %v", err)
	}
	if info, err := open(t, url, nodeB).PrimaryInfo(t.Context()); err != nil || info != nodeA {
		t.Errorf("PrimaryInfo: %+v, %v", info, err)
	}
	unknown, unknownKey := certificate(t)
	_, err := open(t, startTLS(t, unknown, unknownKey), nodeA).Acquire(t.Context())
	wantErr(t, "Acquire from a server that nobody vouches for", err, redis.ErrUnreachable)
	if err == nil || !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") {
		t.Errorf("%v does not name the certificate", err)
	}
}

// startTLS starts a server with a certificate, and returns its URL.
func startTLS(t *testing.T, cert, certKey string) string {
	t.Helper()
	port := strconv.Itoa(freePort(t))
	servertest.StartRedis(t, "--requirepass", "secret", "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", certKey,
		"--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	return "rediss://:secret@127.0.0.1:" + port
}

// certificate makes one for 127.0.0.1 that vouches for itself, and returns the files.
func certificate(t *testing.T) (cert, certKey string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, certKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, certKey: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, certKey
}
