// Read before every file of the preset tsan. Debian's libprotobuf and libgrpc are built without
// ThreadSanitizer, and protobuf's headers give messages with maps another layout where the macro is
// defined: such a message crashes in the library. libstdc++'s headers, which may know, are told
// first.
#include <bits/c++config.h>
#undef __SANITIZE_THREAD__
