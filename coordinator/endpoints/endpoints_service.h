#pragma once

#include "coordinator/endpoints/endpoints.h"
#include "endpoints.grpc.pb.h"

namespace musher {

/// People's door to the endpoints: unpacks, calls, converts errors.
class EndpointsService final : public v1::Endpoints::Service {
 public:
  /// `endpoints` must outlive it.
  explicit EndpointsService(Endpoints& endpoints) : endpoints_(endpoints) {}

  grpc::Status CreateEndpoint(grpc::ServerContext* context,
                              const v1::CreateEndpointRequest* request,
                              v1::CreateEndpointResponse* reply) override;
  grpc::Status UpdateEndpoint(grpc::ServerContext* context,
                              const v1::UpdateEndpointRequest* request,
                              v1::UpdateEndpointResponse* reply) override;
  grpc::Status DescribeEndpoint(grpc::ServerContext* context,
                                const v1::DescribeEndpointRequest* request,
                                v1::DescribeEndpointResponse* reply) override;
  grpc::Status ListEndpoints(grpc::ServerContext* context, const v1::ListEndpointsRequest* request,
                             v1::ListEndpointsResponse* reply) override;
  grpc::Status DeleteEndpoint(grpc::ServerContext* context,
                              const v1::DeleteEndpointRequest* request,
                              v1::DeleteEndpointResponse* reply) override;
  grpc::Status DescribeScalingActivities(grpc::ServerContext* context,
                                         const v1::DescribeScalingActivitiesRequest* request,
                                         v1::DescribeScalingActivitiesResponse* reply) override;

 private:
  Endpoints& endpoints_;
};

}  // namespace musher
