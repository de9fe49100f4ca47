package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/identity"
)

func (s *Server) putStatus(c echo.Context, who identity.Principal, in client.Status) (*client.StatusReply, int, error) {
	reply, err := s.delivery.ReportStatus(c.Request().Context(), who, in)
	if err != nil {
		return nil, 0, err
	}
	reply.SharedInstance = s.delivery.SharedInstance(who, in.Instance, c.Request().Header.Get(client.HeaderProcess))
	return &reply, http.StatusOK, nil
}

func (s *Server) leaseDiscovery(c echo.Context, who identity.Principal, in client.LeaseRequest) (*client.Job, int, error) {
	ctx, cancel := s.parked(c.Request().Context())
	defer cancel()
	job, ok, err := s.registry.LeaseDiscovery(ctx, who, in)
	if err != nil || !ok {
		return nil, 0, err
	}
	return &job, http.StatusOK, nil
}

func (s *Server) postProgress(c echo.Context, who identity.Principal, in client.Progress) (*client.ProgressReply, int, error) {
	cancelled, err := s.registry.Progress(c.Request().Context(), who, c.Param("id"), in.Steps)
	if err != nil {
		return nil, 0, err
	}
	return &client.ProgressReply{Cancelled: cancelled}, http.StatusOK, nil
}

func (s *Server) postOffer(c echo.Context, who identity.Principal, in client.Offer) (*none, int, error) {
	return nil, 0, s.registry.Finish(c.Request().Context(), who, c.Param("id"), in)
}

func (s *Server) postFailure(c echo.Context, who identity.Principal, in client.Failure) (*none, int, error) {
	return nil, 0, s.registry.Fail(c.Request().Context(), who, c.Param("id"), in)
}

func (s *Server) postObservation(c echo.Context, who identity.Principal, in client.Observation) (*client.ObservationReply, int, error) {
	reply, err := s.registry.Observe(c.Request().Context(), who, in)
	if err != nil {
		return nil, 0, err
	}
	return &reply, http.StatusOK, nil
}

// postCalls stores records of calls.
func (s *Server) postCalls(c echo.Context, who identity.Principal, in client.CallBatch) (*client.CallsReply, int, error) {
	done, err := s.usage.Record(c.Request().Context(), who, in.Calls)
	if err != nil {
		return nil, 0, err
	}
	return &client.CallsReply{Stored: done.Stored, Known: done.Known, Expired: done.Expired}, http.StatusOK, nil
}
