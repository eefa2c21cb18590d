#pragma once

#include <cstddef>

namespace musher {

/// The most that one message between ranks may hold, so that Open MPI sends it at once ("eagerly")
/// and never asks its receiver first.
///
/// A larger message waits at its receiver until that asks for it. If its sender dies meanwhile,
/// Open MPI 5.0 refuses the message from within the handler of the broken TCP connection, which
/// holds the lock that the refusal takes as well (opal/mca/btl/tcp/btl_tcp_frag.c,
/// mca_btl_tcp_frag_recv; ompi/mca/pml/ob1, mca_pml_ob1_revoke_comm): the receiver hangs for good.
/// So Musher's collectives go in pieces of this size.
inline constexpr std::size_t kMostMessageBytes = (std::size_t{1} << 20) - 4096;

/// Lets Open MPI send such messages eagerly over TCP, by its parameters in the environment. Before
/// MPI_Init, while there is one thread.
void send_messages_eagerly();

}  // namespace musher
