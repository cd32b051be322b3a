/* What this build is. A commit that sets HEALTHY to 0 makes a release that never gets healthy. */
#ifndef VERSION_H
#define VERSION_H

#define VERSION "1.0.0"
#define HEALTHY 1

#endif
