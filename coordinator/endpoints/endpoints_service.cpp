#include "coordinator/endpoints/endpoints_service.h"

#include "coordinator/grpc_status.h"

namespace musher {

using grpc::ServerContext;

grpc::Status EndpointsService::CreateEndpoint(ServerContext*,
                                              const v1::CreateEndpointRequest* request,
                                              v1::CreateEndpointResponse* reply) {
  return guarded([&] { reply->set_endpoint_arn(endpoints_.create(*request)); });
}

grpc::Status EndpointsService::UpdateEndpoint(ServerContext*,
                                              const v1::UpdateEndpointRequest* request,
                                              v1::UpdateEndpointResponse* reply) {
  return guarded([&] { reply->set_endpoint_arn(endpoints_.update(*request)); });
}

grpc::Status EndpointsService::DescribeEndpoint(ServerContext*,
                                                const v1::DescribeEndpointRequest* request,
                                                v1::DescribeEndpointResponse* reply) {
  return guarded([&] { *reply = endpoints_.describe(request->endpoint_name()); });
}

grpc::Status EndpointsService::ListEndpoints(ServerContext*, const v1::ListEndpointsRequest*,
                                             v1::ListEndpointsResponse* reply) {
  return guarded([&] { *reply = endpoints_.list(); });
}

grpc::Status EndpointsService::DeleteEndpoint(ServerContext*,
                                              const v1::DeleteEndpointRequest* request,
                                              v1::DeleteEndpointResponse*) {
  return guarded([&] { endpoints_.remove(request->endpoint_name()); });
}

grpc::Status EndpointsService::DescribeScalingActivities(
    ServerContext*, const v1::DescribeScalingActivitiesRequest* request,
    v1::DescribeScalingActivitiesResponse* reply) {
  return guarded([&] { *reply = endpoints_.activities(*request); });
}

}  // namespace musher
