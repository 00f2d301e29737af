// The sketch includes it for the library; it uses nothing of it.
#pragma once
