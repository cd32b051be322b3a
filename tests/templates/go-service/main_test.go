package main

import "testing"

func TestHealthIsWell(t *testing.T) {
	if status, text := answer("/health"); status != 200 || text != "ok\n" {
		t.Errorf("got %d %q", status, text)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	if status, _ := answer("/nothing"); status != 404 {
		t.Errorf("got %d", status)
	}
}
