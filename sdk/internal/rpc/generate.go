package rpc

// protoc 3.21.12 with protoc-gen-go v1.36.12 and protoc-gen-go-grpc v1.6.2.
//go:generate sh -c "protoc -I ../../proto --go_out=../../.. --go_opt=module=github.com/cwtch-relay/cwtch-relay --go-grpc_out=../../.. --go-grpc_opt=module=github.com/cwtch-relay/cwtch-relay ../../proto/cwtch/relay/plugin/v1/*.proto"
