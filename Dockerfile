# One static binary and the roots of trust: nothing else is in the image, and nothing in it is writable.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=development
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.version=${VERSION}" -o /out/countersign ./cmd/countersign \
 && mkdir /out/state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/countersign /countersign
# A volume mounted here belongs to the user below: a gateway keeps its last known good policy in it.
COPY --from=build --chown=65532:65532 /out/state /state
COPY LICENSE NOTICE /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/countersign"]
CMD ["serve"]
