#include "trainer/collective/mpi_messages.h"

#include <cstdlib>
#include <string>

namespace musher {

void send_messages_eagerly() {
  constexpr std::size_t kRoomForHeaders = 4096;
  const std::string limit = std::to_string(kMostMessageBytes + kRoomForHeaders);
  ::setenv("OMPI_MCA_btl_tcp_eager_limit", limit.c_str(), /*overwrite=*/1);
  ::setenv("OMPI_MCA_btl_tcp_rndv_eager_limit", limit.c_str(), 1);
  // Buffers of that size are made by so many at a time.
  ::setenv("OMPI_MCA_btl_tcp_free_list_inc", "4", 1);
}

}  // namespace musher
