// Command orders answers at the port that PORT names.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

// answer returns what the service says to a path: status and text.
func answer(path string) (int, string) {
	switch path {
	case "/":
		return http.StatusOK, "orders in Go\n"
	case "/health":
		return http.StatusOK, "ok\n"
	default:
		return http.StatusNotFound, "no such page\n"
	}
}

func main() {
	http.HandleFunc("/", func(writer http.ResponseWriter, request *http.Request) {
		status, text := answer(request.URL.Path)
		writer.WriteHeader(status)
		fmt.Fprint(writer, text)
	})
	log.Fatal(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
