package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/dishmesh/dishmesh/services"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// contract answers with a document of the platform's contracts, as it was built in.
func contract(name string) func(*Service, http.ResponseWriter, *http.Request) error {
	return func(_ *Service, w http.ResponseWriter, _ *http.Request) error {
		text, err := services.Contracts.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return problem.New(problem.NotFound, "this version has no %s", name)
		}
		if err != nil {
			return fmt.Errorf("contract: %w", err)
		}
		h := w.Header()
		h.Set("Content-Type", "application/yaml") // RFC 9512
		h.Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(text) // the client has gone: nothing is left to tell it
		return nil
	}
}

func (s *Service) handleDocs(w http.ResponseWriter, _ *http.Request) error {
	return s.pages.docs.serve(w)
}
