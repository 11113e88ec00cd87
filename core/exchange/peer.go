package exchange

type peer struct{}
type arrival struct{}
type jobContext struct{}
