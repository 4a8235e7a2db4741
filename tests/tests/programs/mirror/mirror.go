// The mirror in Go: `serve NAME PORT`, or `ask PORT HOST...`, see `mirror.rs`. The same over HTTP: `serve-http`, `ask-http`.
//
// Go waits for its sockets by edge-triggered epoll, and reads and writes them until EAGAIN. Bytes are copied by
// Read and Write: io.Copy from socket to socket would splice.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

const (
	pings = 50
	ping  = 64
	bulk  = 300000
	piece = 10000
)

func main() {
	args := os.Args[1:]
	switch args[0] {
	case "serve":
		serve(args[1], args[2])
	case "serve-http":
		log.Fatal(http.ListenAndServe(":"+args[2], answer(args[1])))
	case "ask":
		askAll(args[1], args[2:], look)
	case "ask-http":
		askAll(args[1], args[2:], fetch)
	}
}

func serve(name, port string) {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go mirror(conn, name)
	}
}

func mirror(conn net.Conn, name string) {
	defer conn.Close()
	fmt.Fprintln(conn, name)
	buffer := make([]byte, 65536)
	for {
		count, err := conn.Read(buffer)
		if _, failed := conn.Write(buffer[:count]); err != nil || failed != nil {
			return
		}
	}
}

// A hash of what was sent.
func answer(name string) http.Handler {
	return http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		hash := sha256.New()
		io.Copy(hash, request.Body)
		fmt.Fprintf(to, "%s\n%x", name, hash.Sum(nil))
	})
}

func askAll(port string, hosts []string, ask func(address string) (string, error)) {
	counts := map[string]int{}
	for _, host := range hosts {
		for round := 0; round < 10; round++ {
			names := make(chan string)
			for together := 0; together < 3; together++ {
				go func() {
					name, err := ask(net.JoinHostPort(host, port))
					if err != nil {
						log.Fatal(err)
					}
					names <- name
				}()
			}
			for together := 0; together < 3; together++ {
				counts[<-names]++
			}
		}
	}
	json.NewEncoder(os.Stdout).Encode(counts)
}

func look(address string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	name, err := reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	for number := 0; number < pings; number++ {
		sent, seen := random(ping), make([]byte, ping)
		if _, err := conn.Write(sent); err != nil {
			return "", err
		}
		if _, err := io.ReadFull(reader, seen); err != nil {
			return "", err
		}
		if !bytes.Equal(seen, sent) {
			return "", fmt.Errorf("another answer")
		}
	}
	sent := random(bulk)
	go func() {
		for begin := 0; begin < bulk; begin += piece {
			if _, err := conn.Write(sent[begin : begin+piece]); err != nil {
				log.Fatal(err)
			}
		}
		conn.(*net.TCPConn).CloseWrite()
	}()
	seen, err := io.ReadAll(reader)
	if err == nil && !bytes.Equal(seen, sent) {
		err = fmt.Errorf("of %d bytes %d came back, or others", bulk, len(seen))
	}
	return name[:len(name)-1], err
}

func fetch(address string) (string, error) {
	body := random(bulk)
	response, err := http.Post("http://"+address+"/", "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	name, hash, _ := bytes.Cut(text, []byte("\n"))
	if want := fmt.Sprintf("%x", sha256.Sum256(body)); string(hash) != want {
		return "", fmt.Errorf("another body arrived at %s", name)
	}
	return string(name), nil
}

func random(size int) []byte {
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		log.Fatal(err)
	}
	return data
}
