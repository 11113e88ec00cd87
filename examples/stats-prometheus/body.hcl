# What would stand in the block of the plugin, for "cwtch-relay plugin test".

listen = "127.0.0.1:9464"
